# SPDX-License-Identifier: Apache-2.0
import pytest

from panoptic_ros.node import standby
from panoptic_ros.node.standby import Standby


@pytest.mark.parametrize(
    ('idle_after_s', 'watched', 'idle'),
    [
        # Whether somebody subscribes at the images of 1, 2, ... seconds; which are left out.
        (3.0, [0, 0, 0, 0, 0], [0, 0, 1, 1, 1]),
        (3.0, [1, 0, 0, 0, 0], [0, 0, 0, 1, 1]),
        (3.0, [0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 1]),  # awake with the first image
        (3.0, [0, 0, 1, 0, 0, 1, 0, 0], [0] * 8),  # comes and goes
        (0.5, [0, 0, 1, 0], [1, 1, 0, 1]),
        (0.0, [0] * 9, [0] * 9),  # never
    ],
)
def test_images_are_left_out_after_some_time_without_a_subscriber(
    monkeypatch, idle_after_s, watched, idle
):
    now_s = [100.0]
    monkeypatch.setattr(standby.time, 'monotonic', lambda: now_s[0])
    detector = Standby()
    found = []
    for value in watched:
        now_s[0] += 1
        found.append(detector.update(bool(value), idle_after_s))
        assert detector.is_idle == found[-1]
    assert found == [bool(value) for value in idle]
