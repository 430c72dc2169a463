# SPDX-License-Identifier: Apache-2.0
"""Writer of the overlay video."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import shrink

Rgb = npt.NDArray[np.uint8]

MAX_WIDTH = 960
"""Largest width of the video, px; encoding a wider one would slow the node on a small machine."""

MAX_GAP_S = 30.0
"""A longer time without an image is left out of the video."""


class OverlayVideo:
    """An mp4 that plays at the speed of the camera, even if the node dropped images."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        """Set the options; the first image creates the file.

        Args:
            path: ends in .mp4.
            rate_hz: frames per second of the file, those of the camera.
        """
        self.path, self.rate_hz = path, rate_hz
        self.frames = 0
        self._writer: Any = None
        self._size = (0, 0)  # (width, height)
        self._start_s = 0.0
        self._last: Any = None

    def __enter__(self) -> 'OverlayVideo':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, picture: Rgb, stamp_s: float) -> None:
        """Write an image at its time; missing images are filled with the previous one.

        Args:
            picture: (H, W, 3) RGB; scaled to the size of the first image.
            stamp_s: time of the image, seconds.

        Raises:
            ValueError: if this OpenCV cannot write mp4 files.
        """
        if self._writer is None:
            self._open(picture, stamp_s)
        place = round((stamp_s - self._start_s) * self.rate_hz)
        if not -1 <= place - self.frames <= MAX_GAP_S * self.rate_hz:  # the clock has jumped
            self._start_s, place = stamp_s - self.frames / self.rate_hz, self.frames
        while self.frames < place:
            self._write(self._last)
        scaled = shrink(picture, self._size[::-1])
        self._last = cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR)
        if self.frames == place:
            self._write(self._last)

    def close(self) -> None:
        """Complete the file."""
        if self._writer is not None:
            self._writer.release()

    def _write(self, frame: Any) -> None:
        self._writer.write(frame)
        self.frames += 1

    def _open(self, picture: Rgb, stamp_s: float) -> None:
        height, width = picture.shape[:2]
        scale = min(1.0, MAX_WIDTH / width)
        # The codec accepts even sizes only.
        self._size = tuple(math.ceil(n * scale / 2) * 2 for n in (width, height))
        self._start_s = stamp_s
        self._writer = cv2.VideoWriter(
            str(self.path), cv2.VideoWriter.fourcc(*'mp4v'), self.rate_hz, self._size
        )
        if not self._writer.isOpened():
            raise ValueError(
                f'this OpenCV ({cv2.__version__}) cannot write {self.path.name}; '
                'pip install opencv-python-headless'
            )
