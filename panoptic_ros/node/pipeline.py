# SPDX-License-Identifier: Apache-2.0
"""Predictor, choice of classes and tracker: from a camera image to tracked segments."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry, PanopticFrame, keep_segments
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import Outputs
from panoptic_ros.node.stages import Stage
from panoptic_ros.runtime.letterbox import Letterbox
from panoptic_ros.runtime.predictor import Predictor, to_frame
from panoptic_ros.tracking import StuffVote, Tracker, View
from panoptic_ros.tracking.camera_motion import STANDING, Motion

STAGES = (Stage.PRE, Stage.INFER, Stage.POST, Stage.TRACK)


class Result(NamedTuple):
    """Result of the pipeline for one image."""

    frame: PanopticFrame
    times: dict[Stage, float]
    """Seconds by stage."""


class Prepared(NamedTuple):
    """Image in the network's input."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3) RGB."""

    geometry: Geometry
    seconds: float
    """Time that the preparation took."""


class Pipeline:
    """Predictor, choice of classes and tracker, for one image at a time in order of time."""

    def __init__(self, predictor: Predictor, tracker: Tracker | None = None) -> None:
        self.predictor = predictor
        self.tracker = tracker
        self.stuff_vote: StuffVote | None = None
        """Vote for stuff; None without it."""
        self.thresholds: Mapping[str, float] = {}
        """Thresholds by name in place of the model's defaults; see `Predictor.run`. Assign a new
        mapping to change them."""
        self._keep: npt.NDArray[np.bool_] | None = None
        # One for each camera: the inputs of several cameras exist at the same time.
        self._letterbox = Letterbox(predictor.info)

    def choose_classes(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        """Remove the segments of other classes from map and table, from the next image on.

        Args:
            include: names of the classes to keep; empty keeps all.
            exclude: names of the classes to remove; takes precedence over `include`.

        Raises:
            ValueError: if the model has no class of a name; the choice does not change.
        """
        labels = self.predictor.info.labels
        included, excluded = labels.class_ids(include), labels.class_ids(exclude)
        keep = np.zeros(len(labels), bool)
        keep[list(included) or slice(None)] = True
        keep[list(excluded)] = False
        self._keep = None if keep.all() else keep

    def __call__(self, image: CameraImage, stamp_s: float) -> Result:
        """Segment and track one image; see `prepare` and `finish`."""
        prepared = self.prepare(image)
        start_s = time.perf_counter()
        outputs = self.predictor.run(prepared.pixels, prepared.geometry, self.thresholds)
        return self.finish(prepared, outputs, time.perf_counter() - start_s, stamp_s)

    def prepare(self, image: CameraImage) -> Prepared:
        """Scale an image into the network's input, a buffer that the next call overwrites.

        Raises:
            ValueError: if the image has no pixels or an unknown layout.
        """
        start_s = time.perf_counter()
        pixels, geometry = self._letterbox(image)
        return Prepared(pixels, geometry, time.perf_counter() - start_s)

    def finish(
        self,
        prepared: Prepared,
        outputs: Outputs,
        infer_s: float,
        stamp_s: float,
        view: View | None = None,
    ) -> Result:
        """Make a tracked frame of the outputs for one image.

        Args:
            prepared: the image's result of `prepare`.
            outputs: of the network, with `thresholds`.
            infer_s: time that the network took, seconds.
            stamp_s: time of the image, seconds; see `StampClock` for cameras whose stamps may be
                wrong.
            view: pose of the camera; None if it is not known.
        """
        clock = [time.perf_counter()]
        frame = to_frame(outputs, self.predictor.info, prepared.geometry, stamp_s, self.thresholds)
        if self._keep is not None:
            frame = keep_segments(frame, self._keep[frame.segments['class_id']])
        clock.append(time.perf_counter())
        if self.tracker is not None:
            height, width = prepared.geometry.content_size
            content = CameraImage(prepared.pixels[:height, :width])
            frame = self.tracker.update(frame, content, view)
        if self.stuff_vote is not None:
            frame = self.stuff_vote.update(frame, self._camera_motion())
        clock.append(time.perf_counter())
        times = [prepared.seconds, infer_s, *np.diff(clock).tolist()]
        return Result(frame, dict(zip(STAGES, times, strict=True)))

    def _camera_motion(self) -> Motion | None:
        """Return the motion up to the last image; that of a standing camera if none is wanted."""
        if self.tracker is None or not self.tracker.config.camera_motion:
            return STANDING
        return self.tracker.motion
