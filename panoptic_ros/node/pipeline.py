# SPDX-License-Identifier: Apache-2.0
"""Predictor, choice of classes and tracker: from a camera image to tracked segments."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame, keep_segments
from panoptic_ros.core.image import CameraImage
from panoptic_ros.node.stages import Stage
from panoptic_ros.runtime.predictor import Predictor, to_frame
from panoptic_ros.tracking import Tracker

STAGES = (Stage.PRE, Stage.INFER, Stage.POST, Stage.TRACK)


class Result(NamedTuple):
    """Result of the pipeline for one image."""

    frame: PanopticFrame
    times: dict[Stage, float]
    """Seconds by stage."""


class Pipeline:
    """Predictor, choice of classes and tracker, for one image at a time in order of time."""

    def __init__(self, predictor: Predictor, tracker: Tracker | None = None) -> None:
        self.predictor = predictor
        self.tracker = tracker
        self.thresholds: Mapping[str, float] = {}
        """Thresholds by name in place of the model's defaults; see `Predictor.run`. Assign a new
        mapping to change them."""
        self._keep: npt.NDArray[np.bool_] | None = None

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
        """Segment and track one image.

        Args:
            image: camera image.
            stamp_s: its time, seconds; see `StampClock` for cameras whose stamps may be wrong.

        Raises:
            ValueError: if the image has no pixels or an unknown layout.
        """
        clock = [time.perf_counter()]
        pixels, geometry = self.predictor.prepare(image)
        clock.append(time.perf_counter())
        outputs = self.predictor.run(pixels, geometry, self.thresholds)
        clock.append(time.perf_counter())
        frame = to_frame(outputs, self.predictor.info, geometry, stamp_s, self.thresholds)
        if self._keep is not None:
            frame = keep_segments(frame, self._keep[frame.segments['class_id']])
        clock.append(time.perf_counter())
        if self.tracker is not None:
            frame = self.tracker.update(frame)
        clock.append(time.perf_counter())
        return Result(frame, dict(zip(STAGES, np.diff(clock).tolist(), strict=True)))
