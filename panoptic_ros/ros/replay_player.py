# SPDX-License-Identifier: Apache-2.0
"""Player of a bag's images, depth and clock at a given speed, run as a process.

`python -m panoptic_ros.ros.replay_player '{"bag": ..., "topic": ..., ...}'`
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from panoptic_ros.core.files import write_json
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.topics import COMPRESSED_INPUT, INFO_INPUT, INPUT_TYPES, RAW_INPUT
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.recordings.beside import RESULT_NS, Beside, Feed
from panoptic_ros.recordings.image_topics import COMPRESSED_TYPE
from panoptic_ros.recordings.open import open_recording
from panoptic_ros.replay.config import ReplayConfig
from panoptic_ros.ros.beside import BesidePublishers
from panoptic_ros.ros.message_types import message_class
from panoptic_ros.ros.publishers import wait_for_subscriber
from panoptic_ros.spatial.camera_model import info_of_image

MAX_PAUSE_S = 60.0
"""Longest pause of the recording that is played, seconds; its clock may have been set."""

MAX_CLOCK_NS = (2**31 - 10**5) * 10**9
"""Latest time of /clock; somewhat below the greatest that a stamp can hold."""

CLOCK_S = 0.02
"""Time between two messages of /clock, seconds."""

WAIT_S = 300.0
"""Longest wait for the node to subscribe, which it does after loading its model; seconds."""

DISCOVERY_S = 1.0
"""Time after that in which the subscriber discovers the player, too; seconds."""

AFTER_S = 60.0
"""Time for which the clock continues after the last image, so that the node can finish."""


def main() -> int:
    """Play the bag and print `played <images> in <seconds> s` at the end."""
    order = json.loads(sys.argv[1])
    path = Path(order['bag'])
    config = ReplayConfig(
        open_recording(path),
        {'camera': order['topic']},
        {},
        {},
        {'camera': Beside(open_recording(path), order['beside'])},
        order['start_s'],
        order['duration_s'],
        order['stride'],
    )
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node('replay_player')
        _play(node, config, order)
        node.destroy_node()
    except KeyboardInterrupt:
        pass
    except Exception as error:
        print(f'replay_player: error: {error}', file=sys.stderr)
        return 2
    finally:
        rclpy.shutdown()
    return 0


def _play(node: Node, config: ReplayConfig, order: dict[str, Any]) -> None:
    kind = config.recording.topics[order['topic']].kind
    topic = COMPRESSED_INPUT if kind == COMPRESSED_TYPE else RAW_INPUT
    # A reliable publisher is compatible with subscribers of both kinds.
    publisher = node.create_publisher(message_class(kind), topic, QoSProfile(depth=5))
    clock = _Clock(node, order['rate'])
    store = BagTypes().store
    beside = config.beside['camera']
    sent: list[tuple[int, int]] = []
    kinds = {name: INPUT_TYPES[name] for name in beside.topics}
    others = BesidePublishers(node, kinds)
    feed = Feed(beside.records(*config.window_ns))

    def play_others(until_ns: int) -> None:
        for name, record in feed.until(until_ns):
            if sent:  # else it belongs to the time before the part that is played
                clock.skip_pause(record.time_ns)
                clock.wait_until(record.time_ns)
            message = record.message
            if name == INFO_INPUT:
                message = info_of_image(message, order['topic'])
            others.publish(name, message)

    wait_for_subscriber(publisher, topic, WAIT_S)
    time.sleep(DISCOVERY_S)
    begin_s = time.monotonic()
    for _, record in config.images():
        if record.message is None:
            continue
        play_others(record.time_ns)
        data = bytes(store.serialize_cdr(record.message, kind))
        clock.skip_pause(record.time_ns)
        clock.wait_until(record.time_ns)
        sent.append((header_stamp_ns(record.message), time.time_ns()))
        publisher.publish(data)
    play_others(clock.now_ns() + RESULT_NS)
    write_json(sent, Path(order['sent']))
    print(f'played {len(sent)} images in {time.monotonic() - begin_s:.1f} s', flush=True)
    clock.wait_until(clock.now_ns() + round(AFTER_S * order['rate'] * 1e9))


class _Clock:
    """Clock of the bag, published on /clock.

    It starts with the time of the first image and advances `rate` times as fast as real time. A
    time that stamps cannot hold, before 1970 or after 2038, is replaced by one from 1 s on.
    """

    def __init__(self, node: Node, rate: float) -> None:
        self._publisher = node.create_publisher(Clock, '/clock', 10)
        self._rate = rate
        self._start_ns = 0
        self._start_s = 0.0
        self._offset_ns = 0  # bag's time minus the published one

    def now_ns(self) -> int:
        """Return the bag's time."""
        return self._start_ns + round((time.monotonic() - self._start_s) * self._rate * 1e9)

    def skip_pause(self, time_ns: int) -> None:
        """Advance the clock so that `time_ns` is at most MAX_PAUSE_S ahead."""
        if self._start_s:
            self._start_ns += max(0, time_ns - self.now_ns() - round(MAX_PAUSE_S * 1e9))

    def wait_until(self, time_ns: int) -> None:
        """Publish the clock until the bag's time is `time_ns`; the first call starts the clock."""
        if not self._start_s:
            self._start_ns, self._start_s = time_ns, time.monotonic()
        if not 0 <= time_ns - self._offset_ns < MAX_CLOCK_NS:
            self._offset_ns = self.now_ns() - 10**9
        while True:
            now_ns = self.now_ns()
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now_ns - self._offset_ns, 10**9)
            self._publisher.publish(message)
            wait_s = (time_ns - now_ns) / 1e9 / self._rate
            if wait_s <= 0:
                return
            time.sleep(min(wait_s, CLOCK_S))


if __name__ == '__main__':
    sys.exit(main())
