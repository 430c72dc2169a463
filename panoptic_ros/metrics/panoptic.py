# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019), by panopticapi's rules.

One difference: where a class has several crowds in an image, all of them excuse a prediction;
panopticapi looks at the last one only. Published data sets have at most one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import SumMetric, none_for_nan
from panoptic_ros.metrics.image_pair import Overlaps, Pair, compare
from panoptic_ros.metrics.overlap import Ints


@dataclass(frozen=True)
class Quality:
    """Means over the classes that occur; percent, NaN when none does."""

    pq: float
    sq: float
    rq: float

    n: int
    """Classes that occur."""


@dataclass(frozen=True)
class PanopticResult:
    """What `PanopticQuality.result` returns; qualities in percent, NaN for absent classes."""

    labels: LabelSet

    pq: npt.NDArray[np.float64]
    """(C,) sq * rq."""

    sq: npt.NDArray[np.float64]
    """(C,) mean IoU of the matched segments; 0 when none is."""

    rq: npt.NDArray[np.float64]
    """(C,) F1 of finding segments."""

    tp: npt.NDArray[np.int64]
    """(C,) matched pairs."""

    fp: npt.NDArray[np.int64]
    """(C,) predicted segments without a match that count."""

    fn: npt.NDArray[np.int64]
    """(C,) ground-truth segments without a match that count."""

    def mean(self, among: npt.NDArray[np.bool_]) -> Quality:
        """Means over the classes of (C,) `among` that occur."""
        chosen = among & ~np.isnan(self.pq)
        n = int(chosen.sum())
        pq, sq, rq = (
            float(x[chosen].mean()) if n else float('nan') for x in (self.pq, self.sq, self.rq)
        )
        return Quality(pq, sq, rq, n)

    @property
    def all(self) -> Quality:
        """Over things and stuff."""
        return self.mean(np.ones(len(self.labels), bool))

    @property
    def things(self) -> Quality:
        """Over things."""
        return self.mean(self.labels.is_thing)

    @property
    def stuff(self) -> Quality:
        """Over stuff."""
        return self.mean(~self.labels.is_thing)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, percent; None stands for NaN."""
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
        """Panopticapi's table: All, Things, Stuff; percent."""
        lines = [f'{"":10s}| {"PQ":>5s}  {"SQ":>5s}  {"RQ":>5s} {"N":>5s}', '-' * 38]
        lines += [
            f'{name:10s}| {q.pq:5.1f}  {q.sq:5.1f}  {q.rq:5.1f} {q.n:5d}'
            for name, q in (('All', self.all), ('Things', self.things), ('Stuff', self.stuff))
        ]
        return '\n'.join(lines)

    def format_classes(self) -> str:
        """The same for each class that occurs, with its counts."""
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


class PanopticQuality(SumMetric):
    """Collects images one at a time; instances that saw different images can be merged."""

    sums = ('iou_sum', 'counts')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.iou_sum = np.zeros(len(labels))
        """(C,) sum of the matched pairs' IoU."""
        self.counts = np.zeros((3, len(labels)), np.int64)
        """(3, C) true positives, false positives, false negatives."""

    def update(
        self,
        gt_segment_map: Ints,
        gt_segments: Mapping[int, int],
        pred_segment_map: Ints,
        pred_segments: Mapping[int, int],
        gt_crowd: Collection[int] = (),
    ) -> None:
        """Adds one image; see `add`, and `compare` for the arguments.

        Raises:
            ValueError: as `compare`; nothing is added then.
        """
        self.add(
            compare(
                self.labels, gt_segment_map, gt_segments, pred_segment_map, pred_segments, gt_crowd
            )
        )

    def add(self, pair: Pair) -> None:
        """Adds one image.

        A predicted and a true segment match when their class is the same and their IoU, without
        pixels that are void in the ground truth, is over one half. A prediction that is more
        than half void, or crowd of its own class, is no mistake. Crowds need not be found.
        Listed segments without a pixel do not count.
        """
        self._match(pair, pair.both, pair.union)

    def _match(
        self, pair: Overlaps, both: npt.NDArray[np.int64], union: npt.NDArray[np.int64]
    ) -> None:
        """Adds one image whose segments match by the IoU (G, P) `both / union`.

        It must not be larger than that of the masks, so that at most one pair in each row and
        column can be over one half.
        """
        matched = (2 * both > union) & pair.same_class & ~pair.crowd[:, None]  # in integers
        false_positive = (
            ~matched.any(axis=0) & (pair.pred_area > 0) & (2 * pair.excused <= pair.pred_area)
        )
        false_negative = ~matched.any(axis=1) & (pair.gt_area > 0) & ~pair.crowd

        classes = pair.gt_class[np.nonzero(matched)[0]]
        np.add.at(self.iou_sum, classes, both[matched] / union[matched])
        np.add.at(self.counts[0], classes, 1)
        np.add.at(self.counts[1], pair.pred_class[false_positive], 1)
        np.add.at(self.counts[2], pair.gt_class[false_negative], 1)

    def result(self) -> PanopticResult:
        """Scores of all images so far."""
        tp, fp, fn = self.counts
        with np.errstate(invalid='ignore'):  # 0 / 0 is the NaN of an absent class
            size = tp + (fp + fn) / 2
            pq, rq = 100 * self.iou_sum / size, 100 * tp / size
            sq = np.where(tp > 0, 100 * self.iou_sum / np.maximum(tp, 1), pq)
        return PanopticResult(self.labels, pq, sq, rq, tp.copy(), fp.copy(), fn.copy())
