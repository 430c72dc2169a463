# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019), by panopticapi's rules.

There is one difference: if a class has several crowds in an image, all of them excuse a
prediction, while panopticapi considers only the last one. Published data sets have at most one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import SumMetric, none_for_nan
from panoptic_ros.metrics.image_pair import Overlaps


@dataclass(frozen=True)
class Quality:
    """Means over the classes that occur; percent, NaN if none does."""

    pq: float
    sq: float
    rq: float

    n: int
    """Number of classes that occur."""


@dataclass(frozen=True)
class PanopticResult:
    """Panoptic quality of each class; percent, NaN for classes that do not occur."""

    labels: LabelSet

    pq: npt.NDArray[np.float64]
    """(C,) sq * rq."""

    sq: npt.NDArray[np.float64]
    """(C,) mean IoU of the matched segments; 0 if there are none."""

    rq: npt.NDArray[np.float64]
    """(C,) F1 score of the segments."""

    tp: npt.NDArray[np.int64]
    """(C,) matched pairs."""

    fp: npt.NDArray[np.int64]
    """(C,) predicted segments without a match, except the excused ones."""

    fn: npt.NDArray[np.int64]
    """(C,) ground-truth segments without a match, except crowds."""

    def mean(self, among: npt.NDArray[np.bool_]) -> Quality:
        """Return the means over the classes of (C,) `among` that occur."""
        chosen = among & ~np.isnan(self.pq)
        n = int(chosen.sum())
        pq, sq, rq = (
            float(x[chosen].mean()) if n else float('nan') for x in (self.pq, self.sq, self.rq)
        )
        return Quality(pq, sq, rq, n)

    @property
    def all(self) -> Quality:
        """Means over things and stuff."""
        return self.mean(np.ones(len(self.labels), bool))

    @property
    def things(self) -> Quality:
        """Means over things."""
        return self.mean(self.labels.is_thing)

    @property
    def stuff(self) -> Quality:
        """Means over stuff."""
        return self.mean(~self.labels.is_thing)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, percent; None stands for NaN."""
        means = {
            name: {
                'pq': none_for_nan(q.pq),
                'sq': none_for_nan(q.sq),
                'rq': none_for_nan(q.rq),
                'n': q.n,
            }
            for name, q in (('all', self.all), ('things', self.things), ('stuff', self.stuff))
        }
        per_class = [
            {
                'name': label.name,
                'category_id': label.category_id,
                'is_thing': label.is_thing,
                'pq': none_for_nan(self.pq[i]),
                'sq': none_for_nan(self.sq[i]),
                'rq': none_for_nan(self.rq[i]),
                'tp': int(self.tp[i]),
                'fp': int(self.fp[i]),
                'fn': int(self.fn[i]),
            }
            for i, label in enumerate(self.labels.labels)
        ]
        return {**means, 'per_class': per_class}

    def format_table(self) -> str:
        """Return the table that panopticapi prints: All, Things, Stuff; percent."""
        lines = [f'{"":10s}| {"PQ":>5s}  {"SQ":>5s}  {"RQ":>5s} {"N":>5s}', '-' * 38]
        lines += [
            f'{name:10s}| {q.pq:5.1f}  {q.sq:5.1f}  {q.rq:5.1f} {q.n:5d}'
            for name, q in (('All', self.all), ('Things', self.things), ('Stuff', self.stuff))
        ]
        return '\n'.join(lines)

    def format_classes(self) -> str:
        """Return a table of the classes that occur, with their counts."""
        width = max(10, *(len(name) for name in self.labels.names))
        lines = [
            f'{"":{width}s}| {"PQ":>5s}  {"SQ":>5s}  {"RQ":>5s} {"TP":>6s} {"FP":>6s} {"FN":>6s}',
            '-' * (width + 43),
        ]
        lines += [
            f'{name:{width}s}| {self.pq[i]:5.1f}  {self.sq[i]:5.1f}  {self.rq[i]:5.1f} '
            f'{self.tp[i]:6d} {self.fp[i]:6d} {self.fn[i]:6d}'
            for i, name in enumerate(self.labels.names)
            if not np.isnan(self.pq[i])
        ]
        return '\n'.join(lines)


def match_segments(
    pair: Overlaps, intersection: npt.NDArray[np.int64], union: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Match the predicted and the ground-truth segments of one image.

    They match if their classes are equal and their IoU is over one half. A prediction of which
    more than half is void, or crowd of its own class, is not false.

    Args:
        pair: the image.
        intersection: (G, P) numerator of the IoU.
        union: (G, P) denominator.

    Returns:
        Which pairs match, (G, P), and which predictions are false, (P,).
    """
    matched = (2 * intersection > union) & pair.same_class & ~pair.crowd[:, None]  # integers
    is_false = ~matched.any(axis=0) & (pair.pred_area > 0) & (2 * pair.excused <= pair.pred_area)
    return matched, is_false


def missed_segments(pair: Overlaps, matched: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which ground-truth segments, (G,), have a pixel, are no crowd and match nothing."""
    return ~matched.any(axis=1) & (pair.gt_area > 0) & ~pair.crowd


class SegmentMatches(SumMetric):
    """Counts of matched and unmatched segments, from which panoptic quality follows."""

    sums: ClassVar[tuple[str, ...]] = ('iou_sum', 'counts')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.iou_sum = np.zeros(len(labels))
        """(C,) sum of the IoU of matched pairs."""
        self.counts = np.zeros((3, len(labels)), np.int64)
        """(3, C) true positives, false positives, false negatives."""

    def match(
        self, pair: Overlaps, intersection: npt.NDArray[np.int64], union: npt.NDArray[np.int64]
    ) -> None:
        """Match the segments of one image and count them; see `match_segments`.

        Crowds need not be found. Listed segments without a pixel do not count.

        Args:
            pair: the image.
            intersection: (G, P) numerator of the IoU.
            union: (G, P) denominator. The IoU must not be larger than that of the masks, so that
                at most one pair in each row and column is over one half.
        """
        matched, is_false = match_segments(pair, intersection, union)
        self.count(pair, matched, is_false, missed_segments(pair, matched), intersection, union)

    def count(
        self,
        pair: Overlaps,
        matched: npt.NDArray[np.bool_],
        is_false: npt.NDArray[np.bool_],
        is_missed: npt.NDArray[np.bool_],
        intersection: npt.NDArray[np.int64],
        union: npt.NDArray[np.int64],
    ) -> None:
        """Add matched pairs, (G, P), false predictions, (P,), and missed segments, (G,)."""
        classes = pair.gt_class[np.nonzero(matched)[0]]
        np.add.at(self.iou_sum, classes, intersection[matched] / union[matched])
        np.add.at(self.counts[0], classes, 1)
        np.add.at(self.counts[1], pair.pred_class[is_false], 1)
        np.add.at(self.counts[2], pair.gt_class[is_missed], 1)

    def quality(self) -> PanopticResult:
        """Return the panoptic quality that follows from the counts."""
        tp, fp, fn = self.counts
        with np.errstate(invalid='ignore'):  # 0 / 0 is the NaN of an absent class
            size = tp + (fp + fn) / 2
            pq, rq = 100 * self.iou_sum / size, 100 * tp / size
            sq = np.where(tp > 0, 100 * self.iou_sum / np.maximum(tp, 1), pq)
        return PanopticResult(self.labels, pq, sq, rq, tp.copy(), fp.copy(), fn.copy())


class PanopticQuality(SegmentMatches):
    """Panoptic quality over images; see `SegmentMatches.match` for its rules."""

    def update(self, pair: Overlaps) -> None:
        """Add one image; pixels that are void in the ground truth do not count into the IoU."""
        self.match(pair, pair.intersection, pair.union)

    def compute(self) -> PanopticResult:
        """Return the scores of all images so far."""
        return self.quality()
