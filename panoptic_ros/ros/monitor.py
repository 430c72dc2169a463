# SPDX-License-Identifier: Apache-2.0
"""Subscriber to the topics of node and camera that receives serialised messages."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions

from panoptic_ros.node.topics import BESIDE, LATCHED, RECORDED_INPUT
from panoptic_ros.ros.message_types import message_class

DEPTH = 20
"""Length of the queue, longer than the node's, so that a short pause loses no message."""

RECORDED_DEPTH = 100
"""Length of the queue of the camera's images, which are small and may come at a higher rate."""


class Monitor:
    """ROS node whose callbacks run inside `spin`."""

    def __init__(self, take: Callable[[str, bytes, int], None], topics: Mapping[str, str]) -> None:
        """Start the ROS node and subscribe to topics.

        Args:
            take: called with topic, serialised message and time of arrival (ns since 1970).
            topics: message type by topic.
        """
        self._context = Context()
        # Python handles Ctrl-C.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node('panoptic_demo', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._take = take
        for topic, kind in topics.items():
            self.subscribe(topic, kind)

    def __enter__(self) -> 'Monitor':
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(0)
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def subscribe(self, topic: str, kind: str) -> None:
        """Subscribe to one more topic, given its message type."""
        qos = QoSProfile(depth=DEPTH)
        if topic in LATCHED:
            qos = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        elif topic in (RECORDED_INPUT, *BESIDE):
            qos = QoSProfile(depth=RECORDED_DEPTH)
        self._node.create_subscription(
            message_class(kind), topic, partial(_pass_on, self._take, topic), qos, raw=True
        )

    def has_publisher(self, topic: str) -> bool:
        """Return whether a publisher of a topic was found."""
        return self._node.count_publishers(topic) > 0

    def spin(self, duration_s: float) -> None:
        """Receive messages for some time."""
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)


def _pass_on(take: Callable[[str, bytes, int], None], topic: str, data: bytes) -> None:
    take(topic, data, time.time_ns())
