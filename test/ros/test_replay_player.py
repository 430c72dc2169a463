# SPDX-License-Identifier: Apache-2.0
"""Clock of a bag that is played."""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.ros import replay_player

S = 10**9


class Stub:
    """Node whose publisher keeps the times, and clock that advances by sleeping."""

    def __init__(self, monkeypatch) -> None:
        self.now_s, self.times = 1000.0, []
        monkeypatch.setattr(replay_player.time, 'monotonic', lambda: self.now_s)
        monkeypatch.setattr(replay_player.time, 'sleep', self.sleep)

    def sleep(self, seconds):
        self.now_s += seconds + 1e-6

    def create_publisher(self, *_):
        return self

    def publish(self, message):
        self.times.append(message.clock.sec * S + message.clock.nanosec)


@pytest.mark.parametrize(
    ('start_ns', 'published_ns'),
    [
        (1_700_000_000 * S, 1_700_000_000 * S),
        (2**31 * S, S),  # after 2038: stamps cannot hold it
        (9_000_000_000 * S, S),
        (-5 * S, S),  # before 1970
    ],
)
def test_the_clock_is_the_bags_where_a_stamp_can_hold_it(monkeypatch, start_ns, published_ns):
    stub = Stub(monkeypatch)
    clock = replay_player._Clock(stub, 2.0)
    for step in range(4):
        clock.skip_pause(start_ns + step * S)
        clock.wait_until(start_ns + step * S)
    assert stub.times[0] == published_ns
    assert stub.times == sorted(stub.times)
    assert stub.times[-1] == pytest.approx(published_ns + 3 * S, abs=1e6)
    assert stub.now_s == pytest.approx(1001.5, abs=1e-3)


def test_a_long_pause_is_shortened(monkeypatch):
    stub = Stub(monkeypatch)
    clock = replay_player._Clock(stub, 20.0)
    for time_ns in (5 * S, 6 * S, 1_700_000_000 * S):
        clock.skip_pause(time_ns)
        clock.wait_until(time_ns)
    assert stub.now_s == pytest.approx(1000 + 61 / 20, abs=1e-3)
    clock.wait_until(clock.now_ns() + 1200 * S)  # after the last image nothing is skipped
    assert stub.now_s == pytest.approx(1000 + 61 / 20 + 60, abs=1e-3)
