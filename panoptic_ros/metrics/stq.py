# SPDX-License-Identifier: Apache-2.0
"""Segmentation and tracking quality, STQ (Weber et al., STEP, NeurIPS 2021 data sets track).

STQ is the geometric mean of AQ, the association quality of ground-truth tracks over their clip,
and SQ, the mean IoU of classes. The rules are those of the authors' code:

- AQ considers the pixels of things. A track is a class and an id; the classes of a ground-truth
  and a predicted track need not agree.
- Predicted pixels on a crowd do not count in AQ; predicted pixels on void or stuff add to the
  size of the predicted track.
- SQ ignores void in the ground truth; predicted void is a missed pixel. (The authors' code also
  counts predicted void as one more class, of IoU 0, if it occurs.)
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import SumMetric
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.semantic import MeanIoU
from panoptic_ros.metrics.video_frame import TRACK_BITS, VOID_KEY


class SegmentationTrackingQuality(SumMetric):
    """STQ over clips; keeps one number per pair of overlapping tracks until the clip ends."""

    sums = ('association', 'tracks')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.semantic = MeanIoU(labels)
        self.association = np.zeros(len(labels))
        """(C,) sum of the association quality of the ground-truth tracks of closed clips."""
        self.tracks = np.zeros(len(labels), np.int64)
        """(C,) number of these tracks."""
        self.shared: Counter[tuple[int, int]] = Counter()
        """Pixels of the open clip by ground-truth and predicted track; VOID_KEY is no track."""

    def update(self, frame: Overlaps) -> None:
        """Add the clip's next frame."""
        self.semantic.update(frame)
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
        """Score the clip's tracks and discard them."""
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

    def merge(self, other: 'SegmentationTrackingQuality') -> None:
        """Add the closed clips of another instance."""
        super().merge(other)
        self.semantic.merge(other.semantic)

    def compute(self, among: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Return STQ, AQ and SQ over the classes of (C,) `among`, percent; NaN without any."""
        iou = self.semantic.compute().iou[among]
        sq = float(np.nanmean(iou)) if not np.isnan(iou).all() else float('nan')
        tracks = self.tracks[among].sum()
        aq = 100 * float(self.association[among].sum() / tracks) if tracks else float('nan')
        return {'stq': float(np.sqrt(aq * sq)), 'aq': aq, 'sq': sq}
