# SPDX-License-Identifier: Apache-2.0
"""Topics of a recording beside the images of a camera: depth and camera_info."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.recordings.image_source import BesideMessage
from panoptic_ros.recordings.image_topics import raw_topic
from panoptic_ros.recordings.recording import Record, Recording
from panoptic_ros.recordings.storage import BEGIN_NS, END_NS
from panoptic_ros.spatial.camera_model import info_of_image

RESULT_NS = 50_000_000
"""Time from an image to its result. What is recorded until then has been received by then; many
drivers publish the depth after the image."""

MAX_OFFSET_NS = 50_000_000
"""Largest distance of the stamps of an image and its depth."""

MAX_DEPTH = 10
"""Number of depth images that are kept, more than come within `RESULT_NS`."""

CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'


def topics_beside(
    recording: Recording, image_topic: str, kinds: Mapping[str, str]
) -> dict[str, str]:
    """Find the topics in the namespace of an image topic, where the node subscribes to them.

    Args:
        recording: where the topics are.
        image_topic: raw or compressed.
        kinds: message type by name in the namespace.

    Returns:
        Topic by name, of those with messages of their type; `depth/compressedDepth` only without
        `depth`.
    """
    folder = raw_topic(image_topic).rpartition('/')[0]
    found = {}
    for name, kind in kinds.items():
        topic = recording.topics.get(f'{folder}/{name}')
        if topic is not None and topic.kind == kind and topic.messages:
            found[name] = f'{folder}/{name}'
    return {name: topic for name, topic in found.items() if name.rpartition('/')[0] not in found}


class Beside(NamedTuple):
    """Topics beside the images of one camera, in a recording that is opened for them alone."""

    recording: Recording
    topics: Mapping[str, str]
    """Topic by name of the input."""

    def records(
        self, start_ns: int = BEGIN_NS, stop_ns: int = END_NS
    ) -> Iterator[tuple[str, Record]]:
        """Yield name and message in the order of recording; damaged messages are left out.

        The first camera_info comes first, wherever it was recorded: it may be latched.

        Args:
            start_ns: earliest time of recording of the images.
            stop_ns: end of the interval, exclusive.
        """
        names = {topic: name for name, topic in self.topics.items()}
        for topic, name in names.items():
            if self.recording.topics[topic].kind == CAMERA_INFO:
                first = next(iter(self.recording.records([topic])), None)
                if first is not None and first.message is not None:
                    yield name, first
        start_ns = max(BEGIN_NS, start_ns - RESULT_NS)
        for record in self.recording.records(list(names), start_ns, min(stop_ns, END_NS)):
            if record.message is not None:
                yield names[record.topic], record


class Feed:
    """Messages beside the images, taken up to a time of recording."""

    def __init__(self, records: Iterator[tuple[str, Record]]) -> None:
        """Begin with the first of `Beside.records`."""
        self._records = records
        self._next = next(records, None)

    def until(self, time_ns: int) -> Iterator[tuple[str, Record]]:
        """Yield name and message of all that were recorded until a time and not yielded yet."""
        while self._next is not None and self._next[1].time_ns <= time_ns:
            given = self._next
            self._next = next(self._records, None)
            yield given


class Companions:
    """The messages that belong to each image: the last camera_info and the nearest depth.

    The camera_info is that of `info_of_image`.
    """

    def __init__(self, image_topic: str, feed: Feed, kinds: Mapping[str, str]) -> None:
        """Begin without messages.

        Args:
            image_topic: topic of the images.
            feed: messages beside the images.
            kinds: message type by name.
        """
        self._image_topic, self._feed, self._kinds = image_topic, feed, kinds
        self._info: BesideMessage | None = None
        self._depth = deque[tuple[int, str, Any]](maxlen=MAX_DEPTH)  # stamp, name, message

    def of(self, image: Record) -> list[BesideMessage]:
        """Return the messages of the next image; depth only within `MAX_OFFSET_NS`."""
        for name, record in self._feed.until(image.time_ns + RESULT_NS):
            if self._kinds[name] == CAMERA_INFO:
                info = info_of_image(record.message, self._image_topic)
                self._info = BesideMessage(name, info, 0)
            else:
                self._depth.append((header_stamp_ns(record.message), name, record.message))
        stamp_ns = header_stamp_ns(image.message)
        near = [
            BesideMessage(name, message, at_ns - stamp_ns)
            for at_ns, name, message in self._depth
            if abs(at_ns - stamp_ns) <= MAX_OFFSET_NS
        ]
        found = [] if self._info is None else [self._info]
        return found + sorted(near, key=lambda one: abs(one.offset_ns))[:1]
