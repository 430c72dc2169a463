# SPDX-License-Identifier: Apache-2.0
"""Interface of everything that yields recorded messages on topics."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from panoptic_ros.recordings.storage import BEGIN_NS, END_NS


class RecordedTopic(NamedTuple):
    """A topic of a recording."""

    kind: str
    """Message type, `sensor_msgs/msg/Image`; empty if the topic has messages of several types."""

    messages: int
    """Number of messages recorded, including those that cannot be read because of damage."""


class Record(NamedTuple):
    """One message of a recording."""

    topic: str
    time_ns: int
    """Time of recording."""

    message: Any
    """None if the message cannot be decoded."""

    problem: str
    """Why the message cannot be decoded; empty if it can."""


class Recording(Protocol):
    """Messages on topics: a bag, or a video or image folder presented as one."""

    topics: Mapping[str, RecordedTopic]
    """Topics by name."""

    start_ns: int
    """Time of the first message."""

    @property
    def damage(self) -> str:
        """Description of damage in the files; empty if none was found.

        Complete only after all messages have been read.
        """

    def records(
        self, names: Collection[str], start_ns: int = BEGIN_NS, stop_ns: int = END_NS
    ) -> Iterator[Record]:
        """Yield the readable messages of the named topics in the order of their recording.

        Args:
            names: topics to read.
            start_ns: earliest time of recording.
            stop_ns: end of the interval, exclusive.
        """
