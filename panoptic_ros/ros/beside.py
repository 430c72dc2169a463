# SPDX-License-Identifier: Apache-2.0
"""Publishers of recorded messages beside a camera's images: depth and camera_info."""

from collections.abc import Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from panoptic_ros.node.topics import INPUT_TYPES
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.ros.message_types import message_class
from panoptic_ros.ros.monitor import RECORDED_DEPTH


class BesidePublishers:
    """Reliable publishers of messages from a bag, which are compatible with all subscribers."""

    def __init__(self, node: Node, names: Mapping[str, str]) -> None:
        """Create the publishers.

        Args:
            node: owner of the publishers.
            names: message type by name of the node's input.
        """
        self._types = BagTypes()
        self.by_name = {
            name: node.create_publisher(
                message_class(kind), name, QoSProfile(depth=RECORDED_DEPTH)
            )
            for name, kind in names.items()
        }

    def publish(self, name: str, message: Any, stamp_ns: int | None = None) -> None:
        """Publish a message, with another stamp if one is given."""
        if stamp_ns is not None:
            message.header.stamp = self._types.time(stamp_ns)
        data = self._types.store.serialize_cdr(message, INPUT_TYPES[name])
        self.by_name[name].publish(bytes(data))
