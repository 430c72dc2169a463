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

from panoptic_ros.labels import LabelSet
from panoptic_ros.metrics.overlap import Ints, count_overlaps

VOID_SEGMENT = 0
"""Id of pixels without a segment, in frames as in panoptic PNGs."""


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
        pq, sq, rq = (float(x[chosen].mean()) if n else float('nan')
                      for x in (self.pq, self.sq, self.rq))
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
        means = {name: {'pq': _none_for_nan(q.pq), 'sq': _none_for_nan(q.sq),
                        'rq': _none_for_nan(q.rq), 'n': q.n}
                 for name, q in (('all', self.all), ('things', self.things),
                                 ('stuff', self.stuff))}
        per_class = [
            {'name': label.name, 'category_id': label.category_id, 'is_thing': label.is_thing,
             'pq': _none_for_nan(self.pq[i]), 'sq': _none_for_nan(self.sq[i]),
             'rq': _none_for_nan(self.rq[i]),
             'tp': int(self.tp[i]), 'fp': int(self.fp[i]), 'fn': int(self.fn[i])}
            for i, label in enumerate(self.labels.labels)]
        return {**means, 'per_class': per_class}

    def format_table(self) -> str:
        """Panopticapi's table: All, Things, Stuff; percent."""
        lines = [f'{"":10s}| {"PQ":>5s}  {"SQ":>5s}  {"RQ":>5s} {"N":>5s}', '-' * 38]
        lines += [f'{name:10s}| {q.pq:5.1f}  {q.sq:5.1f}  {q.rq:5.1f} {q.n:5d}'
                  for name, q in (('All', self.all), ('Things', self.things),
                                  ('Stuff', self.stuff))]
        return '\n'.join(lines)

    def format_classes(self) -> str:
        """The same for each class that occurs, with its counts."""
        width = max(10, *(len(name) for name in self.labels.names))
        lines = [f'{"":{width}s}| {"PQ":>5s}  {"SQ":>5s}  {"RQ":>5s} {"TP":>6s} {"FP":>6s} '
                 f'{"FN":>6s}', '-' * (width + 43)]
        lines += [f'{name:{width}s}| {self.pq[i]:5.1f}  {self.sq[i]:5.1f}  {self.rq[i]:5.1f} '
                  f'{self.tp[i]:6d} {self.fp[i]:6d} {self.fn[i]:6d}'
                  for i, name in enumerate(self.labels.names) if not np.isnan(self.pq[i])]
        return '\n'.join(lines)


class PanopticQuality:
    """Collects images one at a time; instances that saw different images can be merged."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.iou_sum = np.zeros(len(labels))
        """(C,) sum of the matched pairs' IoU."""
        self.counts = np.zeros((3, len(labels)), np.int64)
        """(3, C) true positives, false positives, false negatives."""

    def update(self, gt_segment_map: Ints, gt_segments: Mapping[int, int],
               pred_segment_map: Ints, pred_segments: Mapping[int, int],
               gt_crowd: Collection[int] = ()) -> None:
        """Adds one image.

        A predicted and a true segment match when their class is the same and their IoU, without
        pixels that are void in the ground truth, is over one half. A prediction that is more
        than half void, or crowd of its own class, is no mistake. Crowds need not be found.
        Listed segments without a pixel do not count.

        Args:
            gt_segment_map: (H, W) segment id, 0 = void.
            gt_segments: class id of each segment in it.
            pred_segment_map: (H, W) segment id, 0 = void.
            pred_segments: class id of each segment in it.
            gt_crowd: ids of the true segments that are crowds.

        Raises:
            ValueError: if the maps differ in size, hold an unlisted id, or a class is not in the
                label set; nothing is added then.
        """
        gt_class = self._classes(gt_segments, 'ground truth')
        pred_class = self._classes(pred_segments, 'prediction')
        shared = count_overlaps(gt_segment_map, gt_segments, pred_segment_map, pred_segments,
                                void=VOID_SEGMENT)
        crowd = np.array([i in gt_crowd for i in gt_segments], bool)
        self.add(shared, gt_class, pred_class, crowd)

    def add(self, shared: npt.NDArray[np.int64], gt_class: npt.NDArray[np.int64],
            pred_class: npt.NDArray[np.int64], crowd: npt.NDArray[np.bool_]) -> None:
        """Adds what segments share, counted elsewhere: an image's, or a tube's of a video.

        Args:
            shared: (1 + G, 1 + P) pixels, as `count_overlaps` has it.
            gt_class: (G,) class ids.
            pred_class: (P,) class ids.
            crowd: (G,) True for crowds.
        """
        gt_area, pred_area = shared.sum(axis=1)[1:], shared.sum(axis=0)[1:]
        void, both = shared[0, 1:], shared[1:, 1:]  # (P,), (G, P)
        same_class = gt_class[:, None] == pred_class

        union = gt_area[:, None] + pred_area - both - void
        # IoU > 1/2 in integers; at most one pair in each row and column can have it.
        matched = (2 * both > union) & same_class & ~crowd[:, None]
        excused = void + (both * (same_class & crowd[:, None])).sum(axis=0)
        false_positive = ~matched.any(axis=0) & (pred_area > 0) & (2 * excused <= pred_area)
        false_negative = ~matched.any(axis=1) & (gt_area > 0) & ~crowd

        classes = gt_class[np.nonzero(matched)[0]]
        np.add.at(self.iou_sum, classes, both[matched] / union[matched])
        np.add.at(self.counts[0], classes, 1)
        np.add.at(self.counts[1], pred_class[false_positive], 1)
        np.add.at(self.counts[2], gt_class[false_negative], 1)

    def _classes(self, segments: Mapping[int, int], what: str) -> npt.NDArray[np.int64]:
        """(S,) class ids, checked."""
        classes = np.fromiter(segments.values(), np.int64, len(segments))
        for segment, class_id in segments.items():
            if not 0 <= class_id < len(self.labels):
                raise ValueError(f'{what}: segment {segment} has class {class_id}, expected 0 '
                                 f'to {len(self.labels) - 1}')
        return classes

    def merge(self, other: PanopticQuality) -> None:
        """Adds what another instance has seen.

        Raises:
            ValueError: if its label set is another one.
        """
        if other.labels != self.labels:
            raise ValueError('only metrics of the same label set can be merged')
        self.iou_sum += other.iou_sum
        self.counts += other.counts

    def result(self) -> PanopticResult:
        """Scores of all images so far."""
        tp, fp, fn = self.counts
        with np.errstate(invalid='ignore'):  # 0 / 0 is the NaN of an absent class
            size = tp + (fp + fn) / 2
            pq, rq = 100 * self.iou_sum / size, 100 * tp / size
            sq = np.where(tp > 0, 100 * self.iou_sum / np.maximum(tp, 1), pq)
        return PanopticResult(self.labels, pq, sq, rq, tp.copy(), fp.copy(), fn.copy())


def _none_for_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
