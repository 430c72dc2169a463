# SPDX-License-Identifier: Apache-2.0
"""Video panoptic quality, VPQ (Kim et al., Video Panoptic Segmentation, CVPR 2020).

A window of n frames is scored as one image: the pixels of a segment in all of them are its tube,
and tubes are matched, missed and excused by the rules of panoptic quality. A window starts at
every frame, and no window spans two clips.
"""

from collections import deque

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.video_frame import join

WINDOWS = (1, 2, 3, 4)
"""Lengths of the windows, frames."""

EVERY = 5
"""Distance of the frames that the paper labels; windows of 1, 2, 3, 4 such frames are its k = 0,
5, 10, 15."""


class WindowQuality:
    """PQ of tubes in windows of 1, 2, 3 and 4 of the frames that are added."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.quality = tuple(PanopticQuality(labels) for _ in WINDOWS)
        self.recent: deque[Overlaps] = deque(maxlen=max(WINDOWS))

    def update(self, frame: Overlaps) -> None:
        """Add the clip's next frame and score the windows that end with it."""
        self.recent.append(frame)
        for length, quality in zip(WINDOWS, self.quality, strict=True):
            if len(self.recent) >= length:
                quality.update(join(list(self.recent)[-length:], self.labels))

    def end_clip(self) -> None:
        """Let the next frame start another clip."""
        self.recent.clear()

    def merge(self, other: 'WindowQuality') -> None:
        """Add the windows of another instance."""
        for quality, others in zip(self.quality, other.quality, strict=True):
            quality.merge(others)

    def compute(self, among: npt.NDArray[np.bool_]) -> list[float]:
        """Return VPQ for each window length over the classes of (C,) `among`, percent."""
        return [quality.compute().mean(among).pq for quality in self.quality]


class VideoPanopticQuality:
    """VPQ over all frames, and over every fifth frame as in the paper; see `WindowQuality`."""

    def __init__(self, labels: LabelSet) -> None:
        self.every_frame = WindowQuality(labels)
        self.sampled = WindowQuality(labels)
        self.frame_index = 0

    def update(self, frame: Overlaps) -> None:
        """Add the clip's next frame."""
        self.every_frame.update(frame)
        if self.frame_index % EVERY == 0:
            self.sampled.update(frame)
        self.frame_index += 1

    def end_clip(self) -> None:
        """Let the next frame start another clip."""
        self.every_frame.end_clip()
        self.sampled.end_clip()
        self.frame_index = 0

    def merge(self, other: 'VideoPanopticQuality') -> None:
        """Add the windows of another instance."""
        self.every_frame.merge(other.every_frame)
        self.sampled.merge(other.sampled)

    def compute(self, among: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Return VPQ over the classes of (C,) `among`, percent; NaN for too long windows.

        `vpq_1` to `vpq_4` are windows of that many consecutive frames, and `vpq` is their mean:
        the paper's figure if every fifth frame of a video is labelled and only these are added.
        `vpq_k0` to `vpq_k15` are the paper's figures for densely labelled clips, of which they
        use every fifth frame, and `vpq_sampled` is their mean.
        """
        dense, sampled = self.every_frame.compute(among), self.sampled.compute(among)
        return {
            'vpq': _mean(dense),
            **{f'vpq_{n}': value for n, value in zip(WINDOWS, dense, strict=True)},
            'vpq_sampled': _mean(sampled),
            **{
                f'vpq_k{EVERY * (n - 1)}': value for n, value in zip(WINDOWS, sampled, strict=True)
            },
        }


def _mean(values: list[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float('nan')
