# SPDX-License-Identifier: Apache-2.0
"""ROS's own message classes, for what the interface fills."""

from __future__ import annotations

import array
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


class RosTypes:
    """See `panoptic_ros.node.messages.MessageTypes`."""

    vision = find_spec('vision_msgs') is not None

    def make(self, kind: str, **fields: Any) -> Any:
        """A message; other fields have their default."""
        return message_class(kind)(**fields)

    def byte(self, value: int) -> Any:
        """One byte."""
        return bytes([value])

    def buffer(self, size: int) -> Any:
        """Zero bytes; anything but array.array is checked element by element."""
        return array.array('B', bytes(size))


@lru_cache(maxsize=64)
def message_class(kind: str) -> Any:
    """The class of a type like `sensor_msgs/msg/Image`."""
    package, _, name = kind.split('/')
    return getattr(import_module(f'{package}.msg'), name)
