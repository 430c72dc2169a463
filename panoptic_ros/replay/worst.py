# SPDX-License-Identifier: Apache-2.0
"""The frames that a report shows: those that went worst."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import shrink
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.ground_truth import Truth

SHOWN = 6

KEPT = 48
"""Candidates at most; each is some ten kilobytes."""

WINDOW_NS = 500_000_000
"""Of frames nearer than this only the worst is shown, for they look alike."""

WIDTH = 480


class Candidate(NamedTuple):
    """A frame with its pictures."""

    badness: float
    record: FrameRecord
    overlay: bytes
    """JPEG."""

    truth: bytes
    """JPEG of the true classes; empty without ground truth."""


class WorstFrames:
    """Keeps the worst frames: by PQ where there is ground truth, else by confidence."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._kept: dict[tuple[str, int], Candidate] = {}

    def add(
        self, record: FrameRecord, overlay: npt.NDArray[np.uint8], truth: Truth | None
    ) -> None:
        """Takes a frame's pictures if it is bad enough.

        Args:
            record: tells how bad it is.
            overlay: (H, W, 3) RGB.
            truth: what is there.
        """
        if truth is not None and record.pq is None:
            return
        badness = 1000 - record.pq if record.pq is not None else -record.confidence
        window = record.camera, record.recorded_ns // WINDOW_NS
        other = self._kept.get(window)
        if other is not None and other.badness >= badness:
            return
        if other is None and len(self._kept) >= KEPT:
            least = min(self._kept, key=lambda key: self._kept[key].badness)
            if self._kept[least].badness >= badness:
                return
            del self._kept[least]
        painted = b''
        if truth is not None:
            painted = _jpeg(_paint(truth, self._labels))
        self._kept[window] = Candidate(badness, record, _jpeg(overlay), painted)

    def chosen(self) -> list[Candidate]:
        """The worst first, of one camera none nearer than WINDOW_NS to another."""
        chosen: list[Candidate] = []
        for one in sorted(self._kept.values(), key=lambda c: (-c.badness, c.record.recorded_ns)):
            near = any(
                one.record.camera == other.record.camera
                and abs(one.record.recorded_ns - other.record.recorded_ns) < WINDOW_NS
                for other in chosen
            )
            if not near and len(chosen) < SHOWN:
                chosen.append(one)
        return chosen


def _paint(truth: Truth, labels: LabelSet) -> npt.NDArray[np.uint8]:
    """Classes by colour, edges of things in white."""
    picture = labels.colors[truth.class_map]
    track = truth.track_map.astype(np.int32)
    edge = np.zeros(track.shape, bool)
    edge[:, 1:] |= track[:, 1:] != track[:, :-1]
    edge[1:] |= track[1:] != track[:-1]
    picture[edge & (truth.class_map != VOID_ID)] = 255
    return picture


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    small = shrink(picture, (height, WIDTH))
    _, data = cv2.imencode(
        '.jpg', cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    return data.tobytes()
