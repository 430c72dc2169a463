# SPDX-License-Identifier: Apache-2.0
"""Scores of predictions against samples; used by validation and by `panoptic evaluate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.average_precision import AveragePrecision
from panoptic_ros.metrics.base import ClassScores, none_for_nan
from panoptic_ros.metrics.boundary import BoundaryQuality
from panoptic_ros.metrics.covering import ParsingCovering
from panoptic_ros.metrics.image_pair import Pair, compare
from panoptic_ros.metrics.instance_iou import InstanceIoU
from panoptic_ros.metrics.panoptic import PanopticQuality, PanopticResult
from panoptic_ros.metrics.pq_dagger import PQDagger
from panoptic_ros.metrics.semantic import MeanIoU

from ..data.sample import Sample


def gt_segments(
    sample: Sample, is_thing: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], dict[int, int], set[int]]:
    """Ground truth as the metrics take it.

    Things without an instance are a crowd.

    Returns:
        segment map (H, W), class id of each segment, ids of crowds.
    """
    class_map = sample.class_map.astype(np.int32)
    segment_map = np.where(sample.instance_map > 0, sample.instance_map + VOID_ID, class_map + 1)
    segment_map[class_map == VOID_ID] = 0
    ids, first = np.unique(segment_map, return_index=True)
    classes = {
        int(i): int(class_map.flat[place]) for i, place in zip(ids, first, strict=True) if i
    }
    crowds = {i for i, class_id in classes.items() if i <= VOID_ID and is_thing[class_id]}
    return segment_map, classes, crowds


def frame_classes(frame: PanopticFrame) -> dict[int, int]:
    """Class id of each segment of a frame."""
    return dict(
        zip(
            frame.segments['segment_id'].tolist(), frame.segments['class_id'].tolist(), strict=True
        )
    )


class Scores:
    """Scores of one model on one data set.

    Args:
        labels: the classes.
        full: also the scores that training can do without: AP, whose masks are kept, boundary
            PQ, which looks at the pixels again, PQ-dagger, Parsing Covering and iIoU.

    Raises:
        ImportError: if `full` and pycocotools, which computes AP, is not installed.
    """

    def __init__(self, labels: LabelSet, full: bool = False) -> None:
        self.labels = labels
        self.images = 0
        self.panoptic = PanopticQuality(labels)
        self.semantic = MeanIoU(labels)
        self.more = MoreScores(labels) if full else None

    def update(self, sample: Sample, frame: PanopticFrame) -> None:
        """Adds one image and its prediction, which is compared at the sample's size."""
        gt_map, gt_classes, crowds = gt_segments(sample, self.labels.is_thing)
        pair = compare(
            self.labels,
            gt_map,
            gt_classes,
            frame.geometry.to_camera(frame.segment_map),
            frame_classes(frame),
            crowds,
        )
        self.images += 1
        self.panoptic.add(pair)
        self.semantic.add(pair)
        if self.more:
            self.more.add(pair, frame.segments['score'])

    @property
    def _metrics(self) -> dict[str, Any]:
        """All that are collected, by name."""
        return {
            'panoptic': self.panoptic,
            'semantic': self.semantic,
            **(vars(self.more) if self.more else {}),
        }

    def merge(self, other: Scores) -> None:
        """Adds what another instance has seen, after what this one has.

        Raises:
            ValueError: if it has other classes or other metrics.
        """
        metrics, others = self._metrics, other._metrics
        if metrics.keys() != others.keys():
            raise ValueError('only scores of the same metrics can be merged')
        for name, metric in metrics.items():
            metric.merge(others[name])
        self.images += other.images

    @property
    def counts(self) -> tuple[npt.NDArray[Any], ...]:
        """The arrays of the scores of training, which add up over processes."""
        return self.panoptic.iou_sum, self.panoptic.counts, self.semantic.confusion

    def summary(self) -> dict[str, float]:
        """The headline figures in percent; NaN where no class occurs."""
        result = self.panoptic.result()
        return {
            'pq': result.all.pq,
            'sq': result.all.sq,
            'rq': result.all.rq,
            'pq_thing': result.things.pq,
            'pq_stuff': result.stuff.pq,
            'miou': self.semantic.result().miou,
            **{name: scores.mean for name, scores in self._more(result).items()},
        }

    def _more(self, panoptic: PanopticResult) -> dict[str, ClassScores]:
        """Results of the metrics that training does without, by name."""
        return self.more.results(panoptic) if self.more else {}

    def to_dict(self) -> dict[str, Any]:
        """All scores with those of each class, as plain values for JSON; None stands for NaN."""
        panoptic = self.panoptic.result()
        result = {**panoptic.to_dict(), 'semantic': self.semantic.result().to_dict()}
        if self.more:
            more = self._more(panoptic)
            result |= {
                'pq_dagger': more['pq_dagger'].to_dict('pq'),
                'covering': more['pc'].to_dict('pc'),
                'instance_iou': more['iiou'].to_dict('iiou'),
                'boundary': self.more.boundary.result().to_dict(),
                'average_precision': self.more.average_precision.result().to_dict(),
            }
        return result

    def per_class_rows(self) -> list[dict[str, Any]]:
        """A row for each class with all its scores, percent; None where it has none."""
        panoptic = self.panoptic.result()
        columns = {
            'iou': self.semantic.result().iou,
            **{name: scores.values for name, scores in self._more(panoptic).items()},
        }
        return [
            {**row, **{name: none_for_nan(column[i]) for name, column in columns.items()}}
            for i, row in enumerate(panoptic.to_dict()['per_class'])
        ]

    def format(self) -> str:
        """Tables for people: things and stuff, each class, then the other figures."""
        result, summary = self.panoptic.result(), self.summary()
        lines = [f'mIoU {summary["miou"]:.1f}, {self.images} images']
        if self.more:
            lines += [
                'PQ-dagger {pq_dagger:.1f}, PC {pc:.1f}, iIoU {iiou:.1f}, '
                'boundary PQ {boundary_pq:.1f}'.format(**summary),
                'AP {ap:.1f}, AP50 {ap50:.1f}, AP75 {ap75:.1f}'.format(**summary),
            ]
        return '\n\n'.join([result.format_table(), result.format_classes(), '\n'.join(lines)])


class MoreScores:
    """The metrics that training does without."""

    def __init__(self, labels: LabelSet) -> None:
        self.pq_dagger = PQDagger(labels)
        self.covering = ParsingCovering(labels)
        self.instance_iou = InstanceIoU(labels)
        self.boundary = BoundaryQuality(labels)
        self.average_precision = AveragePrecision(labels)

    def add(self, pair: Pair, pred_scores: npt.NDArray[np.floating[Any]]) -> None:
        """Adds one image; scores (P,) are those of the predicted segments."""
        for metric in (self.pq_dagger, self.covering, self.instance_iou, self.boundary):
            metric.add(pair)
        self.average_precision.add(pair, pred_scores)

    def results(self, panoptic: PanopticResult) -> dict[str, ClassScores]:
        """Scores by name of all images so far; `panoptic` is of the same images."""
        boundary, ap = self.boundary.result(), self.average_precision.result()
        return {
            'pq_dagger': self.pq_dagger.result(panoptic),
            'pc': self.covering.result(),
            'iiou': self.instance_iou.result(),
            'boundary_pq': ClassScores(boundary.labels, boundary.pq),
            'ap': ap.ap,
            'ap50': ap.ap50,
            'ap75': ap.ap75,
        }
