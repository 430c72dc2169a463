# SPDX-License-Identifier: Apache-2.0
"""Segmentation and tracking quality, STQ (Weber et al., STEP, NeurIPS 2021 data sets track).

STQ is the geometric mean of AQ, how well true tracks are followed through their clip, and SQ, the
mean IoU of classes. By the rules of its authors' code:

- AQ looks at the pixels of things. A track is a class and an id; the classes of a true and a
  predicted track need not agree.
- What is predicted on a crowd counts nowhere in AQ; what is predicted on void or stuff makes the
  predicted track larger.
- SQ does not look at void in the ground truth; predicted void is a missed pixel. (The authors'
  code also takes predicted void for one more class, of IoU 0, where it occurs.)
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import SumMetric
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.semantic import MeanIoU
from panoptic_ros.metrics.video_frame import TRACK_BITS, VOID_KEY


class SegmentationTrackingQuality(SumMetric):
    """Collects frames; keeps one number per pair of overlapping tracks until the clip ends."""

    sums = ('association', 'tracks')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.semantic = MeanIoU(labels)
        self.association = np.zeros(len(labels))
        """(C,) sum of the association quality of the true tracks of closed clips."""
        self.tracks = np.zeros(len(labels), np.int64)
        """(C,) how many these are."""
        self.shared: Counter[tuple[int, int]] = Counter()
        """Pixels of the open clip by true and predicted track; VOID_KEY is what is none."""

    def add(self, frame: Overlaps) -> None:
        """Adds the clip's next frame."""
        np.add.at(
            self.semantic.confusion,
            (frame.gt_class[:, None], np.append(0, 1 + frame.pred_class)),
            frame.shared[1:],
        )
        gt, pred = (
            np.append(VOID_KEY, np.where(self.labels.is_thing[class_id], key, VOID_KEY)).tolist()
            for class_id, key in (
                (frame.gt_class, frame.gt_ids),
                (frame.pred_class, frame.pred_ids),
            )
        )
        counts = np.append(True, ~frame.crowd)[:, None]
        for i, j in np.argwhere(frame.shared * counts).tolist():
            self.shared[gt[i], pred[j]] += int(frame.shared[i, j])

    def end_clip(self) -> None:
        """Scores the clip's tracks and forgets them."""
        gt_size: Counter[int] = Counter()
        pred_size: Counter[int] = Counter()
        for (gt, pred), pixels in self.shared.items():
            gt_size[gt] += pixels
            pred_size[pred] += pixels
        for gt in gt_size.keys() - {VOID_KEY}:
            self.tracks[gt >> TRACK_BITS] += 1
        for (gt, pred), pixels in sorted(self.shared.items()):
            if gt != VOID_KEY and pred != VOID_KEY:
                iou = pixels / (gt_size[gt] + pred_size[pred] - pixels)
                self.association[gt >> TRACK_BITS] += pixels * iou / gt_size[gt]
        self.shared.clear()

    def merge(self, other: SegmentationTrackingQuality) -> None:
        """Adds the clips that another instance has closed."""
        super().merge(other)
        self.semantic.merge(other.semantic)

    def scores(self, among: npt.NDArray[np.bool_]) -> dict[str, float]:
        """STQ, AQ and SQ over the classes of (C,) `among`, percent; NaN where nothing counts."""
        iou = self.semantic.result().iou[among]
        sq = float(np.nanmean(iou)) if not np.isnan(iou).all() else float('nan')
        tracks = self.tracks[among].sum()
        aq = 100 * float(self.association[among].sum() / tracks) if tracks else float('nan')
        return {'stq': float(np.sqrt(aq * sq)), 'aq': aq, 'sq': sq}
