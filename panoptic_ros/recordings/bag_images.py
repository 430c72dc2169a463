# SPDX-License-Identifier: Apache-2.0
"""Where the demo's images come from: a video, a camera of this machine, a bag, a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.recordings import bag as bags
from panoptic_ros.recordings.image_topics import COMPRESSED_TYPE, IMAGE_TYPE, camera_topics
from panoptic_ros.recordings.sources import CompressedImage, Picture, RawImage
from panoptic_ros.recordings.video import RATE_HZ


class Bag:
    """The camera topic of a recorded bag of ROS 2 or ROS 1, as far as the bag is whole.

    Of several the one with the most pictures is taken; depth images do not count.
    """

    def __init__(self, path: Path) -> None:
        """Checks the bag.

        Raises:
            FileNotFoundError, ValueError: if it is missing, damaged or without camera images; in
                the last case its topics are listed.
        """
        self.path = path
        with bags.Bag(path) as bag:
            topics, reasons = camera_topics(bag, (IMAGE_TYPE, COMPRESSED_TYPE))
            if not topics:
                listed = (
                    ', '.join(
                        f'{name} ({topic.kind}, {topic.messages} messages'
                        + (f': {reasons[name]})' if name in reasons else ')')
                        for name, topic in bag.topics.items()
                    )
                    or 'none'
                )
                raise ValueError(
                    f'{path} has no topic with camera images; its topics are: {listed}'
                )
            self.topic = max(topics, key=lambda name: bag.topics[name].messages)
            self.compressed = bag.topics[self.topic].kind == COMPRESSED_TYPE
            times = [record.time_ns for record in bag.records([self.topic])]
        self.name = f'bag {path}, topic {self.topic}'
        span_s = (times[-1] - times[0]) / 1e9
        self.rate_hz = (len(times) - 1) / span_s if span_s > 0 else RATE_HZ
        self.length_s: float | None = len(times) / self.rate_hz

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        with bags.Bag(self.path) as bag:
            start_ns = None
            for record in bag.records([self.topic]):
                start_ns = record.time_ns if start_ns is None else start_ns
                if record.message is not None:
                    yield Picture(
                        max(record.time_ns - start_ns, 0) / 1e9,
                        _image_fields(record.message, self.compressed),
                    )


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
