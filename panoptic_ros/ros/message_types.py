# SPDX-License-Identifier: Apache-2.0
"""Message classes of rclpy for the builders in `panoptic_ros.node.messages`."""

import array
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


class RosTypes:
    """Maker of rclpy's messages; see `panoptic_ros.node.messages.MessageTypes`."""

    vision = find_spec('vision_msgs') is not None

    def make(self, kind: str, **fields: Any) -> Any:
        """Return a message; other fields have their default."""
        return message_class(kind)(**fields)

    def byte(self, value: int) -> Any:
        """Return the value of a field of type byte."""
        return bytes([value])

    def buffer(self, size: int) -> Any:
        """Return zero bytes; rclpy checks anything but array.array element by element."""
        return array.array('B', bytes(size))


@lru_cache(maxsize=64)
def message_class(kind: str) -> Any:
    """Return the class of a type like `sensor_msgs/msg/Image`."""
    package, _, name = kind.split('/')
    return getattr(import_module(f'{package}.msg'), name)
