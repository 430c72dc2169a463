# SPDX-License-Identifier: Apache-2.0
"""The worst frames of a replay, which its report shows."""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import shrink
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.ground_truth_classes import GroundTruthMaps

SHOWN = 6
"""Number of frames in a report."""

MAX_CANDIDATES = 48
"""Most candidates that are kept; each takes some ten kilobytes."""

WINDOW_NS = 500_000_000
"""Shortest time between two frames in a report; frames closer than that look alike."""

WIDTH = 480
"""Width of the images in a report, px."""


class Candidate(NamedTuple):
    """A frame with its images."""

    badness: float
    """Rank of the frame, higher is worse."""

    record: FrameRecord
    overlay: bytes
    """JPEG."""

    ground_truth: bytes
    """JPEG of the ground truth classes; empty without ground truth."""


class WorstFrames:
    """The worst frames by PQ with ground truth, else by confidence."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._kept: dict[tuple[str, int], Candidate] = {}

    def add(
        self, record: FrameRecord, overlay: npt.NDArray[np.uint8], gt: GroundTruthMaps | None
    ) -> None:
        """Keep a frame if it is worse than those kept so far.

        Args:
            record: of the frame, with its scores.
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
        gt_jpeg = b'' if gt is None else _jpeg(_paint(gt, self._labels))
        self._kept[window] = Candidate(badness, record, _jpeg(overlay), gt_jpeg)

    def chosen(self) -> list[Candidate]:
        """Return the worst frames, worst first, at least `WINDOW_NS` apart in each camera."""
        chosen: list[Candidate] = []
        ranked = sorted(self._kept.values(), key=lambda c: (-c.badness, c.record.recorded_ns))
        for candidate in ranked:
            is_near = any(
                candidate.record.camera == other.record.camera
                and abs(candidate.record.recorded_ns - other.record.recorded_ns) < WINDOW_NS
                for other in chosen
            )
            if not is_near and len(chosen) < SHOWN:
                chosen.append(candidate)
        return chosen


def _paint(gt: GroundTruthMaps, labels: LabelSet) -> npt.NDArray[np.uint8]:
    """Return the colours of the classes, with edges of things in white."""
    picture = labels.colors[gt.class_map]
    track = gt.track_map.astype(np.int32)
    edge = np.zeros(track.shape, bool)
    edge[:, 1:] |= track[:, 1:] != track[:, :-1]
    edge[1:] |= track[1:] != track[:-1]
    picture[edge & (gt.class_map != VOID_ID)] = 255
    return picture


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    small = shrink(picture, (height, WIDTH))
    _, data = cv2.imencode(
        '.jpg', cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    return data.tobytes()
