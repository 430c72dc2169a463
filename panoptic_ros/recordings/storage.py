# SPDX-License-Identifier: Apache-2.0
"""What all kinds of storage files have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

BEGIN_NS, END_NS = -(2**63), 2**63 - 1
"""Not later than any message, and later than all."""


class Channel(NamedTuple):
    """A topic of one storage file."""

    topic: str
    kind: str
    """Message type, `sensor_msgs/msg/Image`."""

    encoding: str
    """Of the messages: `cdr` (ROS 2), `ros1`, or that of another system."""

    messages: int
    """Messages that the file should hold, damage or not."""


class Stored(NamedTuple):
    """One message as it is stored."""

    channel: Channel
    time_ns: int
    """When it was recorded."""

    data: bytes


class Storage(Protocol):
    """A storage file."""

    channels: Sequence[Channel]
    start_ns: int
    """Time of the first message; `END_NS` without any."""

    damage: str
    """What is wrong with the file; empty while nothing is. Known in full after reading."""

    def messages(self, topics: Collection[str], start_ns: int, stop_ns: int) -> Iterator[Stored]:
        """Messages of some topics with `start_ns <= time_ns < stop_ns`, by time."""

    def close(self) -> None:
        """Closes the file."""


class StorageError(ValueError):
    """A file that nothing can be read from; the message says why in one line."""
