# SPDX-License-Identifier: Apache-2.0
"""Processing of one image from its message to a tracked frame, for the node and for replay."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.text import one_line
from panoptic_ros.images.messages import cv_bridge_fallback, header_stamp_s, read_message
from panoptic_ros.node.counts import Drop
from panoptic_ros.node.live_pipeline import LivePipeline
from panoptic_ros.node.stages import Stage
from panoptic_ros.runtime import Predictor
from panoptic_ros.tracking import StampClock


class ProcessedImage(NamedTuple):
    """Image with its result."""

    image: CameraImage
    frame: PanopticFrame
    times: dict[Stage, float]
    """Seconds by stage, from reading to tracking."""


class DroppedImage(NamedTuple):
    """Image without a result."""

    reason: Drop
    text: str
    """What is wrong with the image, without the reason's name."""

    error: Exception | None = None
    """Error that ended the processing, if there was one."""

    @property
    def problem(self) -> str:
        """Reason and text."""
        return f'{self.reason.value}: {self.text}'


class ImageStep:
    """Reads, segments and tracks the images of one camera, one at a time and in order."""

    def __init__(self, predictor: Predictor, settings: Mapping[str, Any]) -> None:
        """Create a step with a tracker of its own.

        Args:
            predictor: the loaded model.
            settings: the parameters' values, checked for that model.
        """
        self.pipeline = LivePipeline(predictor, settings)
        self.clock = StampClock()
        self._settings = settings
        self._fallback = cv_bridge_fallback()

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Change the settings to checked values of the parameters."""
        self._settings = settings
        self.pipeline.apply(settings)

    def __call__(
        self, message: Any, received_s: float, now_s: float | None = None
    ) -> ProcessedImage | DroppedImage:
        """Process one image; with changes from other threads, inside `pipeline.for_image`.

        Args:
            message: a sensor_msgs/Image or CompressedImage, from rclpy or from a bag.
            received_s: time of arrival, seconds of any clock that does not jump.
            now_s: current time of the clock that stamps the images, to drop images older than
                `max_age_ms`; None accepts images of any age.
        """
        stamp_s = header_stamp_s(message)
        time_s = self.clock.time_of(stamp_s, received_s)
        max_age_ms = self._settings['max_age_ms']
        age_ms = 0.0 if now_s is None else (now_s - stamp_s) * 1e3
        if max_age_ms and age_ms > max_age_ms:
            return DroppedImage(
                Drop.TOO_OLD,
                f'an image is {age_ms:.0f} ms old, more than max_age_ms {max_age_ms:.0f}',
            )
        start_s = time.perf_counter()
        try:
            image = read_message(message, self._fallback, self._settings['max_image_pixels'])
        except ValueError as error:
            return DroppedImage(Drop.BAD_IMAGE, str(error), error)
        read_s = time.perf_counter() - start_s
        try:
            frame, times = self.pipeline(image, time_s)
        except Exception as error:
            return failed(error)
        return ProcessedImage(image, frame, {Stage.READ: read_s, **times})


def failed(error: Exception) -> DroppedImage:
    """Return the result of an image whose inference or publishing raised an error."""
    return DroppedImage(Drop.INFERENCE_FAILED, one_line(f'{type(error).__name__}: {error}'), error)
