"""Where the demo's images come from: a video file, a camera of this machine, a recorded bag."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

# Our own message says what is wrong, in one line.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # read at the first capture

RATE_HZ = 25.0
"""Assumed where a video or a camera does not say."""

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'

DEPTH_ENCODINGS = ('16UC1', '32FC1', 'mono16')


class RawImage(NamedTuple):
    """The fields of a sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: npt.NDArray[np.uint8]
    """Bytes, of any shape, C-contiguous."""


class CompressedImage(NamedTuple):
    """The fields of a sensor_msgs/CompressedImage."""

    format: str
    data: npt.NDArray[np.uint8]


class Picture(NamedTuple):
    """One image, and when it is due."""

    time_s: float | None
    """Since the first image; never goes back. None: now, the camera itself sets the pace."""

    image: RawImage | CompressedImage


class Source(Protocol):
    """Gives the same pictures each time it is asked; opening and checking is the constructor's."""

    name: str
    """For people."""

    rate_hz: float
    """Pictures per second, nearly."""

    length_s: float | None
    """None if it never ends."""

    compressed: bool

    def pictures(self) -> Iterator[Picture]:
        """Opens the source and yields its pictures."""


class Video:
    """A video file, once or again and again."""

    compressed = False

    def __init__(self, path: Path, loop: bool = False) -> None:
        """Checks the file.

        Raises:
            FileNotFoundError, ValueError: if it is missing or has no first picture.
        """
        if not path.is_file():
            raise FileNotFoundError(f'no video file at {path}')
        self.path, self.loop, self.name = path, loop, f'video {path}'
        capture = cv2.VideoCapture(str(path))
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise ValueError(f'{path} cannot be read as a video; it may be damaged, cut short or '
                             'in a format that this OpenCV does not know')
        self.rate_hz = rate_hz if 1 <= rate_hz <= 240 else RATE_HZ
        self.length_s: float | None = None if loop else max(count, 1) / self.rate_hz

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        index = 0
        while True:
            capture = cv2.VideoCapture(str(self.path))
            for pixels in _frames(capture):
                yield Picture(index / self.rate_hz, pixels)
                index += 1
            if not self.loop:
                return


class LocalCamera:
    """A camera of this machine, by OpenCV's number."""

    compressed = False

    def __init__(self, index: int) -> None:
        """Checks the camera.

        Raises:
            ValueError: if it is not there or gives no picture.
        """
        self.index, self.name = index, f'camera {index}'
        self.length_s: float | None = None
        capture = cv2.VideoCapture(index)
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise ValueError(f'camera {index} is not there or gives no picture; '
                             'the cameras of this machine are /dev/video<number>')
        self.rate_hz = rate_hz if 1 <= rate_hz <= 240 else RATE_HZ

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        for pixels in _frames(cv2.VideoCapture(self.index)):
            yield Picture(None, pixels)
        raise ValueError(f'camera {self.index} gives no pictures any more')


def _frames(capture: Any) -> Iterator[RawImage]:
    try:
        while True:
            readable, pixels = capture.read()
            if not readable:
                return
            height, width = pixels.shape[:2]
            yield RawImage(height, width, 'bgr8', 0, width * 3, pixels)
    finally:
        capture.release()


@dataclass(frozen=True)
class _Topic:
    name: str
    count: int
    connections: list[Any]
    compressed: bool


class Bag:
    """The camera topic of a recorded bag (ROS 2, or a ROS 1 .bag file).

    Of several the one with the most pictures is taken; depth images do not count.
    """

    def __init__(self, path: Path) -> None:
        """Checks the bag.

        Raises:
            FileNotFoundError, ValueError: if it is missing, damaged or without camera images; in
                the last case its topics are listed.
        """
        if not path.exists():
            raise FileNotFoundError(f'no bag at {path}')
        if path.is_dir() and not (path / 'metadata.yaml').is_file():
            raise FileNotFoundError(f'{path} is not a bag: it has no metadata.yaml')
        self.path = path
        try:
            with _open_bag(path) as reader:
                topic = _choose_topic(reader, path)
                times = [time_ns for _, time_ns, _ in reader.messages(topic.connections)]
        except _BagWithoutImagesError:
            raise
        except Exception as error:  # each layer of the reader has its own kinds
            raise ValueError(f'{path} cannot be read as a bag: {_one_line(error)}') from None
        self.topic, self.compressed = topic.name, topic.compressed
        self.name = f'bag {path}, topic {topic.name}'
        span_s = (times[-1] - times[0]) / 1e9
        self.rate_hz = (len(times) - 1) / span_s if span_s > 0 else RATE_HZ
        self.length_s: float | None = len(times) / self.rate_hz

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        with _open_bag(self.path) as reader:
            topic = _choose_topic(reader, self.path)
            start_ns = None
            for connection, time_ns, data in reader.messages(topic.connections):
                start_ns = time_ns if start_ns is None else start_ns
                message = reader.deserialize(data, connection.msgtype)
                yield Picture((time_ns - start_ns) / 1e9, _image_fields(message, self.compressed))


class _BagWithoutImagesError(ValueError):
    pass


def _open_bag(path: Path) -> Any:
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ValueError('bags need the package rosbags: pip install "panoptic_ros[bag]"'
                         ) from None
    return AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))


def _choose_topic(reader: Any, path: Path) -> _Topic:
    topics = []
    for name, info in sorted(reader.topics.items()):
        if info.msgtype in (IMAGE_TYPE, COMPRESSED_TYPE) and info.msgcount:
            _, _, data = next(reader.messages(info.connections))
            first = reader.deserialize(data, info.msgtype)
            compressed = info.msgtype == COMPRESSED_TYPE
            depth = ('compressedDepth' in first.format if compressed
                     else first.encoding in DEPTH_ENCODINGS)
            if not depth:
                topics.append(_Topic(name, info.msgcount, info.connections, compressed))
    if not topics:
        listed = ', '.join(f'{name} ({info.msgtype}, {info.msgcount} messages)'
                           for name, info in sorted(reader.topics.items())) or 'none'
        raise _BagWithoutImagesError(f'{path} has no topic with camera images; its topics are: '
                                     f'{listed}')
    return max(topics, key=lambda topic: topic.count)


def _image_fields(message: Any, compressed: bool) -> RawImage | CompressedImage:
    if compressed:
        return CompressedImage(message.format, message.data)
    return RawImage(message.height, message.width, message.encoding, message.is_bigendian,
                    message.step, message.data)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
