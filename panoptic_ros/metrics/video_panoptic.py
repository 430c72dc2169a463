# SPDX-License-Identifier: Apache-2.0
"""Video panoptic quality, VPQ (Kim et al., Video Panoptic Segmentation, CVPR 2020).

A window of n frames is scored as one image: what a segment covers in all of them is its tube, and
tubes match, miss and are excused by the rules of panoptic quality. Windows start at every frame
and never reach into another clip.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.video_frame import join

WINDOWS = (1, 2, 3, 4)
"""Frames in a window."""

EVERY = 5
"""The paper labels every fifth frame: windows of 1, 2, 3, 4 such frames are its k = 0, 5, 10,
15."""


class _TubeQuality(PanopticQuality):
    def add_tubes(self, tubes: Overlaps) -> None:
        """Adds a window."""
        self._match(tubes, tubes.both, tubes.union)


class WindowQuality:
    """PQ of tubes in windows of 1, 2, 3 and 4 of the frames it is given."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.quality = tuple(_TubeQuality(labels) for _ in WINDOWS)
        self.recent: deque[Overlaps] = deque(maxlen=max(WINDOWS))

    def add(self, frame: Overlaps) -> None:
        """Adds the clip's next frame: every window that ends with it."""
        self.recent.append(frame)
        for length, quality in zip(WINDOWS, self.quality, strict=True):
            if len(self.recent) >= length:
                quality.add_tubes(join(list(self.recent)[-length:], self.labels))

    def end_clip(self) -> None:
        """The next frame belongs to another clip."""
        self.recent.clear()

    def merge(self, other: WindowQuality) -> None:
        """Adds what another instance has seen."""
        for mine, its in zip(self.quality, other.quality, strict=True):
            mine.merge(its)

    def scores(self, among: npt.NDArray[np.bool_]) -> list[float]:
        """VPQ for each length of window over the classes of (C,) `among`, percent."""
        return [quality.result().mean(among).pq for quality in self.quality]


class VideoPanopticQuality:
    """VPQ over all frames, and over every fifth one as in the paper; see `WindowQuality`."""

    def __init__(self, labels: LabelSet) -> None:
        self.every_frame = WindowQuality(labels)
        self.sampled = WindowQuality(labels)
        self.frame_index = 0

    def add(self, frame: Overlaps) -> None:
        """Adds the clip's next frame."""
        self.every_frame.add(frame)
        if self.frame_index % EVERY == 0:
            self.sampled.add(frame)
        self.frame_index += 1

    def end_clip(self) -> None:
        """The next frame belongs to another clip."""
        self.every_frame.end_clip()
        self.sampled.end_clip()
        self.frame_index = 0

    def merge(self, other: VideoPanopticQuality) -> None:
        """Adds what another instance has seen."""
        self.every_frame.merge(other.every_frame)
        self.sampled.merge(other.sampled)

    def scores(self, among: npt.NDArray[np.bool_]) -> dict[str, float]:
        """VPQ over the classes of (C,) `among`, percent; NaN for windows longer than any clip.

        `vpq_1` to `vpq_4` are windows of that many consecutive frames, and `vpq` is their mean:
        the paper's figure where the frames are those that are labelled. `vpq_k0` to `vpq_k15`
        are the paper's in densely labelled clips, of which they see every fifth frame, and
        `vpq_sampled` is their mean.
        """
        dense, sampled = self.every_frame.scores(among), self.sampled.scores(among)
        return {
            'vpq': _mean(dense),
            **{f'vpq_{n}': value for n, value in zip(WINDOWS, dense, strict=True)},
            'vpq_sampled': _mean(sampled),
            **{
                f'vpq_k{EVERY * (n - 1)}': value for n, value in zip(WINDOWS, sampled, strict=True)
            },
        }


def _mean(values: list[float]) -> float:
    """Mean without NaN; NaN if nothing else is there."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float('nan')
