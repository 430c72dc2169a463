# SPDX-License-Identifier: Apache-2.0
"""Cameras of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import cv2

from panoptic_ros.recordings.sources import Picture
from panoptic_ros.recordings.video import frames, rate_of

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
