# SPDX-License-Identifier: Apache-2.0
"""Video files and cameras of this machine as image sources, read by OpenCV."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from panoptic_ros.core.inputs import require_file
from panoptic_ros.images.files import MAX_IMAGE_PIXELS
from panoptic_ros.recordings.image_source import NOTHING_BESIDE, RawImage, TimedImage

# The errors raised here say what is wrong; OpenCV's own log is turned off. The function has one
# name in OpenCV 4.6 and another in 5.
_set_log_level = getattr(cv2, 'setLogLevel', None) or cv2.utils.logging.setLogLevel
_set_log_level(0)
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # read at the first capture

ENDINGS = (
    '.mp4',
    '.avi',
    '.mov',
    '.mkv',
    '.webm',
    '.m4v',
    '.3gp',
    '.3g2',
    '.ts',
    '.mts',
    '.m2ts',
    '.mpg',
    '.mpeg',
    '.vob',
    '.wmv',
    '.asf',
    '.flv',
    '.ogv',
    '.gif',
    '.mjpg',
    '.mjpeg',
    '.h264',
    '.264',
    '.h265',
    '.hevc',
    '.y4m',
)
"""Endings of the names of video files; OpenCV detects the format itself."""

RATE_HZ = 25.0
"""Rate that is assumed if a video or camera does not report its rate."""

MAX_CAMERA = 255
"""Largest camera number; Linux has no larger one."""


class Video:
    """The frames of a video file, once or in a loop."""

    compressed = False
    beside = NOTHING_BESIDE

    def __init__(self, path: Path, loop: bool = False) -> None:
        """Check the file.

        Args:
            path: the video.
            loop: whether the video starts again after the last frame.

        Raises:
            FileNotFoundError: if there is no file.
            ValueError: if its first frame cannot be read, or frames are larger than
                `MAX_IMAGE_PIXELS`.
        """
        require_file(path, 'a video file')
        self.path, self.loop, self.name = path, loop, f'video {path}'
        capture = cv2.VideoCapture(str(path))
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        width, height = (
            capture.get(name) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.rate_hz = _rate_of(capture)
        too_large = width * height > MAX_IMAGE_PIXELS
        readable = not too_large and capture.read()[0]
        capture.release()
        if too_large:
            raise ValueError(
                f'{path} has pictures of {width:.0f} x {height:.0f} pixels, more '
                f'than the limit of {MAX_IMAGE_PIXELS}'
            )
        if not readable:
            raise ValueError(
                f'{path} cannot be read as a video; it may be damaged, cut short or '
                'in a format that this OpenCV does not know'
            )
        self.duration_s: float | None = None if loop else max(count, 1) / self.rate_hz

    def images(self) -> Iterator[TimedImage]:
        """See `ImageSource`."""
        start_s = 0.0
        while True:
            time_s = start_s
            for since_s, image in read_frames(cv2.VideoCapture(str(self.path)), self.rate_hz):
                time_s = start_s + since_s
                yield TimedImage(time_s, image)
            if not self.loop:
                return
            start_s = time_s + 1 / self.rate_hz


class LocalCamera:
    """A camera of this machine, by OpenCV's number."""

    compressed = False
    beside = NOTHING_BESIDE

    def __init__(self, index: int) -> None:
        """Check the camera.

        Raises:
            ValueError: if the camera does not exist or gives no image.
        """
        if not 0 <= index <= MAX_CAMERA:
            raise ValueError(f'the number of a camera must be 0 to {MAX_CAMERA}, got {index}')
        self.index, self.name = index, f'camera {index}'
        self.duration_s: float | None = None
        capture = cv2.VideoCapture(index)
        self.rate_hz = _rate_of(capture)
        readable = capture.read()[0]
        capture.release()
        if not readable:
            found = ', '.join(map(str, sorted(Path('/dev').glob('video[0-9]*')))) or 'none'
            raise ValueError(
                f'camera {index} (/dev/video{index}) does not exist or gives no picture; '
                f'the video devices of this machine: {found}'
            )

    def images(self) -> Iterator[TimedImage]:
        """See `ImageSource`.

        Raises:
            ValueError: if the camera stops giving images.
        """
        for _, image in read_frames(cv2.VideoCapture(self.index), self.rate_hz):
            yield TimedImage(None, image)
        raise ValueError(f'camera {self.index} has stopped giving pictures')


def _rate_of(capture: Any) -> float:
    """Return the frames per second of an open capture; `RATE_HZ` if it is not 1 to 240."""
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    return rate_hz if 1 <= rate_hz <= 240 else RATE_HZ


def read_frames(capture: Any, rate_hz: float) -> Iterator[tuple[float, RawImage]]:
    """Yield the frames of an open capture, and release it at the end.

    Args:
        capture: a `cv2.VideoCapture`.
        rate_hz: rate by which a frame follows the previous one if its own time is not later.

    Yields:
        Seconds since the first frame, strictly increasing, and the frame.
    """
    first_s = last_s = None
    try:
        while True:
            readable, pixels = capture.read()
            if not readable:
                return
            file_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            if first_s is None or last_s is None:
                first_s, last_s = file_s, 0.0
            else:
                since_s = file_s - first_s
                last_s = since_s if since_s > last_s else last_s + 1 / rate_hz
            height, width = pixels.shape[:2]
            yield last_s, RawImage(height, width, 'bgr8', 0, width * 3, pixels)
    finally:
        capture.release()
