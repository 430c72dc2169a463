# SPDX-License-Identifier: Apache-2.0
"""Interface of the storage files of bags."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

BEGIN_NS, END_NS = -(2**63), 2**63 - 1
"""Earliest possible time of a message, and a time later than that of any message."""


class Channel(NamedTuple):
    """A topic of one storage file."""

    topic: str
    kind: str
    """Message type, `sensor_msgs/msg/Image`."""

    encoding: str
    """Encoding of the messages: `cdr` (ROS 2), `ros1`, or that of another system."""

    messages: int
    """Number of messages recorded, including those that cannot be read because of damage."""


class StoredMessage(NamedTuple):
    """A message as its bytes are stored."""

    channel: Channel
    time_ns: int
    """Time of recording."""

    data: bytes


class Storage(Protocol):
    """A storage file that is open for reading."""

    channels: Sequence[Channel]
    start_ns: int
    """Time of the first message; `END_NS` if there is none."""

    damage: str
    """Description of damage; empty if none was found. Complete only after all messages have been
    read."""

    def messages(
        self, topics: Collection[str], start_ns: int, stop_ns: int
    ) -> Iterator[StoredMessage]:
        """Yield the messages of some topics with `start_ns <= time_ns < stop_ns`, by time."""

    def close(self) -> None:
        """Close the file."""


class StorageError(ValueError):
    """A file from which nothing can be read."""
