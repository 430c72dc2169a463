# SPDX-License-Identifier: Apache-2.0
"""Transforms between coordinate frames from TF, where tf2_ros is installed."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from panoptic_ros.core.text import one_line
from panoptic_ros.spatial.lidar import transform_matrix

START_S = 1.0
"""Time in which a new listener receives the transforms that exist, seconds."""

BACK = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))
"""Changes of the node's clock after which the received transforms do not apply: back, as when a
bag starts again, or to another source of time."""


class Transforms:
    """Listener to TF that begins when the first transform is needed."""

    def __init__(self, node: Node) -> None:
        """Prepare the listener.

        Args:
            node: owner of its subscriptions and of the clock.
        """
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None
        self._jumps: Any = None
        self._since_s = 0.0

    def listen(self) -> bool:
        """Begin to receive transforms; called by the executor.

        Returns:
            Whether the transforms that exist should have arrived, START_S after the first call.
            Without tf2_ros there is nothing to wait for.
        """
        if self._listener is not None:
            return time.monotonic() - self._since_s > START_S
        try:
            import tf2_ros
        except ImportError:
            return True
        self._since_s = time.monotonic()
        self._buffer = buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(buffer, self._node, spin_thread=False)
        # A buffer refuses transforms that are much older than its newest one. Given the node, it
        # clears itself on some distributions, but also adds a service that it never removes.
        self._jumps = self._node.get_clock().create_jump_callback(
            BACK, post_callback=lambda jump: buffer.clear()
        )
        return False

    def close(self) -> None:
        """Receive no more transforms."""
        if self._listener is not None:
            self._listener.unregister()
            self._jumps.unregister()
        self._buffer = self._listener = self._jumps = None

    def __call__(self, target: str, source: str, stamp: Any) -> npt.NDArray[np.float64]:
        """Return the transform (4, 4) from frame `source` to frame `target`.

        It is that of the stamp, or the newest one if TF does not reach there, as sensors are
        fixed to each other on most robots, and odometry is often later than an image.

        Raises:
            ValueError: if it is not known, or tf2_ros is not installed.
        """
        buffer = self._buffer
        if buffer is None:
            raise ValueError('tf2_ros is not installed; install it')
        from tf2_ros import TransformException

        for at in (Time.from_msg(stamp), Time()):
            try:
                found = buffer.lookup_transform(target, source, at).transform
            except TransformException as error:
                problem = one_line(error, 150)
                continue
            place, turn = found.translation, found.rotation
            return transform_matrix([place.x, place.y, place.z], [turn.x, turn.y, turn.z, turn.w])
        raise ValueError(
            f'TF has no transform from {source!r} to {target!r} ({problem}); publish it'
        )
