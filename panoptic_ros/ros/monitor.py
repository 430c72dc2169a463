# SPDX-License-Identifier: Apache-2.0
"""Subscribes to what the node says, for `panoptic demo`; messages stay serialised."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions

from panoptic_ros.node.topics import LATCHED
from panoptic_ros.ros.message_types import message_class

DEPTH = 20
"""More than the node keeps, so that a short stop here loses nothing."""


class Monitor:
    """A ROS node whose callbacks run inside `spin`."""

    def __init__(self, take: Callable[[str, bytes, int], None], topics: Mapping[str, str]) -> None:
        """Subscribes.

        Args:
            take: gets topic, serialised message and the time it came (ns since 1970).
            topics: message type by topic.
        """
        self._context = Context()
        # Ctrl-C stays Python's.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node('panoptic_demo', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        for topic, kind in topics.items():
            qos = (
                QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
                if topic in LATCHED
                else QoSProfile(depth=DEPTH)
            )
            self._node.create_subscription(
                message_class(kind), topic, partial(_pass_on, take, topic), qos, raw=True
            )

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(0)
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def spin(self, duration_s: float) -> None:
        """Takes messages for a while."""
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)


def _pass_on(take: Callable[[str, bytes, int], None], topic: str, data: bytes) -> None:
    take(topic, data, time.time_ns())
