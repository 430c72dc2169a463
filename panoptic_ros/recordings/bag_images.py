# SPDX-License-Identifier: Apache-2.0
"""The camera topic of a bag as an image source."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.beside import Beside, Companions, Feed, topics_beside
from panoptic_ros.recordings.image_source import (
    NOTHING_BESIDE,
    CompressedImage,
    RawImage,
    TimedImage,
)
from panoptic_ros.recordings.image_topics import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    camera_topics,
    list_topics,
)
from panoptic_ros.recordings.video import RATE_HZ


class BagImages:
    """The images of one camera topic of a bag, as far as the bag can be read.

    Of several camera topics the one with the most images is chosen; depth images are ignored.
    """

    def __init__(
        self,
        path: Path,
        own_topics: tuple[str, ...] = (),
        beside: Mapping[str, str] = NOTHING_BESIDE,
        loop: bool = False,
    ) -> None:
        """Check the bag and choose the topic.

        Args:
            path: see `Bag`.
            own_topics: see `camera_topics`.
            beside: message type by name of the inputs to look for beside the images.
            loop: whether the images start again after the last one.

        Raises:
            FileNotFoundError: if there is no bag.
            ValueError: if it cannot be read, or has no topic with camera images; the message then
                lists its topics.
        """
        self.path, self.loop = path, loop
        with Bag(path) as bag:
            topics, reasons = camera_topics(
                bag, (IMAGE_TYPE, COMPRESSED_TYPE), own_topics=own_topics
            )
            if not topics:
                raise ValueError(
                    f'{path} has no topic with camera images; its topics are: '
                    f'{list_topics(bag, reasons)}'
                )
            self.topic = max(topics, key=lambda name: bag.topics[name].messages)
            self.compressed = bag.topics[self.topic].kind == COMPRESSED_TYPE
            self._topics_beside = topics_beside(bag, self.topic, beside)
            times_ns = [record.time_ns for record in bag.records([self.topic])]
        self.beside: Mapping[str, str] = {name: beside[name] for name in self._topics_beside}
        self.name = f'bag {path}, topic {self.topic}'
        span_s = (times_ns[-1] - times_ns[0]) / 1e9
        self.rate_hz = (len(times_ns) - 1) / span_s if span_s > 0 else RATE_HZ
        self._length_s = len(times_ns) / self.rate_hz
        self.duration_s: float | None = None if loop else self._length_s

    def images(self) -> Iterator[TimedImage]:
        """See `ImageSource`; images that cannot be decoded are left out."""
        start_s = 0.0
        while True:
            for time_s, *content in self._images_once():
                yield TimedImage(start_s + time_s, *content)
            if not self.loop:
                return
            start_s += self._length_s

    def _images_once(self) -> Iterator[tuple[float, Any, Any]]:
        with Bag(self.path) as bag, Bag(self.path) as other:
            feed = Feed(Beside(other, self._topics_beside).records())
            companions = Companions(self.topic, feed, self.beside)
            start_ns = None
            for record in bag.records([self.topic]):
                start_ns = record.time_ns if start_ns is None else start_ns
                if record.message is not None:
                    time_s = max(record.time_ns - start_ns, 0) / 1e9
                    image = _image_fields(record.message, self.compressed)
                    yield time_s, image, companions.of(record)


def _image_fields(message: Any, compressed: bool) -> RawImage | CompressedImage:
    if compressed:
        return CompressedImage(message.format, np.asarray(message.data))
    return RawImage(
        message.height,
        message.width,
        message.encoding,
        message.is_bigendian,
        message.step,
        np.asarray(message.data),
    )
