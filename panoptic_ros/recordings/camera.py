# SPDX-License-Identifier: Apache-2.0
"""A camera of this machine as an image source."""

from collections.abc import Iterator

import cv2

from panoptic_ros.recordings.image_source import TimedImage
from panoptic_ros.recordings.video import rate_of, read_frames

MAX_CAMERA = 255
"""Largest camera number; Linux has no larger one."""


class LocalCamera:
    """A camera of this machine, by OpenCV's number."""

    compressed = False

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
        self.rate_hz = rate_of(capture)
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise ValueError(
                f'camera {index} is not there or gives no picture; '
                'the cameras of this machine are /dev/video<number>'
            )

    def images(self) -> Iterator[TimedImage]:
        """See `ImageSource`.

        Raises:
            ValueError: if the camera stops giving images.
        """
        for _, image in read_frames(cv2.VideoCapture(self.index), self.rate_hz):
            yield TimedImage(None, image)
        raise ValueError(f'camera {self.index} has stopped giving pictures')
