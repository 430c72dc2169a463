# SPDX-License-Identifier: Apache-2.0
"""Where the demo's images come from: a video, a camera of this machine, a bag, a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panoptic_ros.recordings import bag as bags
from panoptic_ros.recordings.cameras import COMPRESSED_TYPE, IMAGE_TYPE, camera_topics
from panoptic_ros.recordings.folder import ImageFolder
from panoptic_ros.recordings.pictures import CompressedImage, Picture, RawImage, Source
from panoptic_ros.recordings.video import RATE_HZ, Video, frames, rate_of

MAX_CAMERA = 255
"""Largest number of a camera; Linux has no more."""


class LocalCamera:
    """A camera of this machine, by OpenCV's number."""

    compressed = False

    def __init__(self, index: int) -> None:
        """Checks the camera.

        Raises:
            ValueError: if it is not there or gives no picture.
        """
        if not 0 <= index <= MAX_CAMERA:
            raise ValueError(f'the number of a camera must be 0 to {MAX_CAMERA}, got {index}')
        self.index, self.name = index, f'camera {index}'
        self.length_s: float | None = None
        capture = cv2.VideoCapture(index)
        self.rate_hz = rate_of(capture)
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise ValueError(
                f'camera {index} is not there or gives no picture; '
                'the cameras of this machine are /dev/video<number>'
            )

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        for _, image in frames(cv2.VideoCapture(self.index), self.rate_hz):
            yield Picture(None, image)
        raise ValueError(f'camera {self.index} gives no pictures any more')


def open_video(path: Path, loop: bool = False) -> Source:
    """Opens a video file, or a folder of images.

    Raises:
        FileNotFoundError, ValueError: if it cannot be read.
    """
    return ImageFolder(path, loop) if path.is_dir() else Video(path, loop)


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
