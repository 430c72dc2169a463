# SPDX-License-Identifier: Apache-2.0
"""Processing of images from their messages to tracked frames, for the node and for replay."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import Outputs
from panoptic_ros.core.text import one_line
from panoptic_ros.images.messages import cv_bridge_fallback, header_stamp_s, read_message
from panoptic_ros.node.counts import Drop
from panoptic_ros.node.live_pipeline import LivePipeline
from panoptic_ros.node.pipeline import Pipeline, Prepared
from panoptic_ros.node.stages import Stage
from panoptic_ros.runtime import Predictor
from panoptic_ros.runtime.predictor import NetworkInput
from panoptic_ros.tracking import StampClock, View


class ProcessedImage(NamedTuple):
    """Image with its result."""

    image: CameraImage
    frame: PanopticFrame
    times: dict[Stage, float]
    """Seconds by stage, from reading to tracking."""

    view: View | None = None
    """Pose of the camera, if it was known to the tracker."""


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
        """Process one image; see `process_together`."""
        return process_together([Request(self, message, received_s, now_s)])[0]

    def read(self, request: 'Request') -> '_Read | DroppedImage':
        """Read the image of a request and scale it into the network's input."""
        message, now_s = request.message, request.now_s
        stamp_s = header_stamp_s(message)
        time_s = self.clock.time_of(stamp_s, request.received_s)
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
        pipeline = self.pipeline.current
        try:
            return _Read(pipeline, image, pipeline.prepare(image), time_s, read_s, request.view_of)
        except Exception as error:
            return failed(error)


class Request(NamedTuple):
    """Image to process."""

    step: ImageStep
    """Of the camera."""

    message: Any
    """A sensor_msgs/Image or CompressedImage, from rclpy or from a bag."""

    received_s: float
    """Time of arrival, seconds of any clock that does not jump."""

    now_s: float | None = None
    """Current time of the clock that stamps the images, to drop images older than `max_age_ms`;
    None accepts images of any age."""

    view_of: Callable[[tuple[int, int]], View | None] = lambda size: None
    """Returns the pose of the camera for an image of a size (height, width); None if it is not
    known. It is called after the network has run, when TF has received more transforms."""


class _Read(NamedTuple):
    """Image that is ready for the network."""

    pipeline: Pipeline
    image: CameraImage
    prepared: Prepared
    time_s: float
    read_s: float
    view_of: Callable[[tuple[int, int]], View | None]


def process_together(requests: Sequence[Request]) -> list[ProcessedImage | DroppedImage]:
    """Process one image of each of some cameras; those with the same model run together.

    With changes from other threads, call it inside the `for_image` of all their pipelines.

    Returns:
        The result of each request.
    """
    done: dict[int, ProcessedImage | DroppedImage] = {}
    ready: defaultdict[int, dict[int, _Read]] = defaultdict(dict)  # by model
    for i, request in enumerate(requests):
        read = request.step.read(request)
        if isinstance(read, DroppedImage):
            done[i] = read
        else:
            ready[id(read.pipeline.predictor)][i] = read
    for group in ready.values():
        done.update(zip(group, _run_together(list(group.values())), strict=True))
    return [done[i] for i in range(len(requests))]


def _run_together(ready: Sequence[_Read]) -> list[ProcessedImage | DroppedImage]:
    """Run images through the model that they share, and track their segments."""
    inputs = [
        NetworkInput(one.prepared.pixels, one.prepared.geometry, one.pipeline.thresholds)
        for one in ready
    ]
    start_s = time.perf_counter()
    try:
        outputs = ready[0].pipeline.predictor.run_together(inputs)
    except Exception as error:
        return [failed(error)] * len(ready)
    infer_s = time.perf_counter() - start_s
    return [_finish(one, output, infer_s) for one, output in zip(ready, outputs, strict=True)]


def _finish(read: _Read, outputs: Outputs, infer_s: float) -> ProcessedImage | DroppedImage:
    try:
        view = read.view_of(read.prepared.geometry.image_size)
        frame, times = read.pipeline.finish(read.prepared, outputs, infer_s, read.time_s, view)
    except Exception as error:
        return failed(error)
    return ProcessedImage(read.image, frame, {Stage.READ: read.read_s, **times}, view)


def failed(error: Exception) -> DroppedImage:
    """Return the result of an image whose inference or publishing raised an error."""
    return DroppedImage(Drop.INFERENCE_FAILED, one_line(f'{type(error).__name__}: {error}'), error)
