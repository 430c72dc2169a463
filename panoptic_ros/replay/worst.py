# SPDX-License-Identifier: Apache-2.0
"""The worst frames of a replay, which its report shows."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.label_frame import frame_of_labels
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.overlay import draw_overlay
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.ground_truth_classes import GroundTruthMaps
from panoptic_ros.replay.report_images import WINDOW_NS, choose_apart, shrunk_jpeg

MAX_CANDIDATES = 48
"""Most candidates that are kept; each takes some hundred kilobytes."""


class Candidate(NamedTuple):
    """A frame with its images."""

    badness: float
    """Rank of the frame, higher is worse."""

    record: FrameRecord
    overlay: bytes
    """JPEG."""

    ground_truth: bytes
    """JPEG of the ground truth over the camera's image; empty without ground truth."""


class WorstFrames:
    """The worst frames by PQ with ground truth, else by confidence."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._kept: dict[tuple[str, int], Candidate] = {}

    def add(
        self,
        record: FrameRecord,
        image: CameraImage,
        overlay: npt.NDArray[np.uint8],
        gt: GroundTruthMaps | None,
    ) -> None:
        """Keep a frame if it is worse than those kept so far.

        Args:
            record: of the frame, with its scores.
            image: the camera's image.
            overlay: (H, W, 3) RGB.
            gt: ground truth of the frame.
        """
        if gt is not None and record.pq is None:
            return
        badness = 1000 - record.pq if record.pq is not None else -record.confidence
        window = record.camera, record.recorded_ns // WINDOW_NS
        other = self._kept.get(window)
        if other is not None and other.badness >= badness:
            return
        if other is None and len(self._kept) >= MAX_CANDIDATES:
            least = min(self._kept, key=lambda key: self._kept[key].badness)
            if self._kept[least].badness >= badness:
                return
            del self._kept[least]
        gt_jpeg = b'' if gt is None else shrunk_jpeg(self._draw(image, gt))
        self._kept[window] = Candidate(badness, record, shrunk_jpeg(overlay), gt_jpeg)

    def chosen(self) -> list[Candidate]:
        """Return the worst frames, worst first, at least `WINDOW_NS` apart in each camera."""
        ranked = sorted(self._kept.values(), key=lambda c: (-c.badness, c.record.recorded_ns))
        return choose_apart(ranked, lambda candidate: candidate.record)

    def _draw(self, image: CameraImage, gt: GroundTruthMaps) -> npt.NDArray[np.uint8]:
        """Draw ground truth over the camera's image."""
        frame = frame_of_labels(gt.class_map, gt.track_map, self._labels)
        return draw_overlay(image, frame, self._labels)
