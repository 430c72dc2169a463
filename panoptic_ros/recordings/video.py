# SPDX-License-Identifier: Apache-2.0
"""Video files, frame by frame, each at its own time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from panoptic_ros.images.files import MAX_IMAGE_PIXELS
from panoptic_ros.recordings.image_source import RawImage, TimedImage

# Our own message says what is wrong, in one line. OpenCV 4.6 has one name for it, 5 the other.
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
"""How the names of video files end; what is in them, OpenCV finds out."""

RATE_HZ = 25.0
"""Assumed where a video or a camera does not say."""


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
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        width, height = (
            capture.get(name) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.rate_hz = rate_of(capture)
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


def rate_of(capture: Any) -> float:
    """Asks a capture for its pictures per second; `RATE_HZ` if it says nothing sensible."""
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    return rate_hz if 1 <= rate_hz <= 240 else RATE_HZ


def read_frames(capture: Any, rate_hz: float) -> Iterator[tuple[float, RawImage]]:
    """Reads the frames of an open capture, which is released at the end.

    Args:
        capture: of OpenCV.
        rate_hz: stands in where a frame has no later time than the one before.

    Returns:
        Time since the first frame in seconds, which always grows, and the frame.
    """
    first_s = last_s = None
    try:
        while True:
            readable, pixels = capture.read()
            if not readable:
                return
            own_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            if first_s is None or last_s is None:
                first_s, last_s = own_s, 0.0
            else:
                since_s = own_s - first_s
                last_s = since_s if since_s > last_s else last_s + 1 / rate_hz
            height, width = pixels.shape[:2]
            yield last_s, RawImage(height, width, 'bgr8', 0, width * 3, pixels)
    finally:
        capture.release()
