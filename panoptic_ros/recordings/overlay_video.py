# SPDX-License-Identifier: Apache-2.0
"""The overlay video and the contact sheet."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import shrink

Rgb = npt.NDArray[np.uint8]

MAX_WIDTH = 960
"""Of the video, px; writing wider ones takes the node's time on a small machine."""


MAX_GAP_S = 30.0
"""A longer time without a picture is left out of the video."""


class OverlayVideo:
    """An mp4 that plays as fast as the camera saw it, whatever the node left out."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        """Prepares the file, which the first picture begins.

        Args:
            path: ends in .mp4.
            rate_hz: frames per second of the file; the camera's.
        """
        self.path, self.rate_hz = path, rate_hz
        self.frames = 0
        self._writer: Any = None
        self._size = (0, 0)  # (width, height)
        self._start_s = 0.0
        self._last: Any = None

    def __enter__(self) -> OverlayVideo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, picture: Rgb, stamp_s: float) -> None:
        """Writes a picture at its time; the one before stands where one is missing.

        Args:
            picture: (H, W, 3); if not of the first one's size, it is scaled to that.
            stamp_s: time of the image.

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
        """Completes the file."""
        if self._writer is not None:
            self._writer.release()

    def _write(self, frame: Any) -> None:
        self._writer.write(frame)
        self.frames += 1

    def _open(self, picture: Rgb, stamp_s: float) -> None:
        height, width = picture.shape[:2]
        scale = min(1.0, MAX_WIDTH / width)
        # The codec takes even sizes only.
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
