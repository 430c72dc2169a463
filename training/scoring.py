"""Scores of predictions against samples; used by validation and by `panoptic evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.average_precision import AveragePrecision
from panoptic_ros.metrics.base import none_for_nan
from panoptic_ros.metrics.pair import compare
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.semantic import MeanIoU

from .data.sample import Sample


def gt_segments(sample: Sample, is_thing: npt.NDArray[np.bool_],
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
    classes = {int(i): int(class_map.flat[place]) for i, place in zip(ids, first, strict=True)
               if i}
    crowds = {i for i, class_id in classes.items() if i <= VOID_ID and is_thing[class_id]}
    return segment_map, classes, crowds


def frame_classes(frame: PanopticFrame) -> dict[int, int]:
    """Class id of each segment of a frame."""
    return dict(zip(frame.segments['segment_id'].tolist(), frame.segments['class_id'].tolist(),
                    strict=True))


class Scores:
    """Scores of one model on one data set.

    Args:
        labels: the classes.
        full: also the scores that training can do without: those that keep masks or look at
            the pixels again. They need pycocotools.

    Raises:
        ImportError: if `full` and pycocotools is not installed.
    """

    def __init__(self, labels: LabelSet, full: bool = False) -> None:
        self.labels = labels
        self.images = 0
        self.panoptic = PanopticQuality(labels)
        self.semantic = MeanIoU(labels)
        self.average_precision = AveragePrecision(labels) if full else None

    def update(self, sample: Sample, frame: PanopticFrame) -> None:
        """Adds one image and its prediction, which is compared at the sample's size."""
        gt_map, gt_classes, crowds = gt_segments(sample, self.labels.is_thing)
        pair = compare(self.labels, gt_map, gt_classes,
                       frame.geometry.to_camera(frame.segment_map), frame_classes(frame), crowds)
        self.images += 1
        self.panoptic.add(pair)
        self.semantic.add(pair)
        if self.average_precision:
            self.average_precision.add(pair, frame.segments['score'])

    @property
    def _metrics(self) -> dict[str, Any]:
        """All that are collected, by name."""
        metrics = {'panoptic': self.panoptic, 'semantic': self.semantic,
                   'average_precision': self.average_precision}
        return {name: metric for name, metric in metrics.items() if metric}

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

    def state(self) -> dict[str, Any]:
        """Everything seen so far as plain values for JSON; `restore` reads it back exactly."""
        return {'images': self.images,
                **{name: metric.state() for name, metric in self._metrics.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave, in place of what was seen here.

        Raises:
            ValueError: if it is of other classes or metrics.
        """
        metrics = self._metrics
        if set(state) != {'images', *metrics}:
            raise ValueError(f'expected a state of {", ".join(metrics)}, got '
                             f'{", ".join(sorted(state))}')
        for name, metric in metrics.items():
            metric.restore(state[name])
        self.images = int(state['images'])

    @property
    def counts(self) -> tuple[npt.NDArray[Any], ...]:
        """The arrays of the scores of training, which add up over processes."""
        return self.panoptic.iou_sum, self.panoptic.counts, self.semantic.confusion

    def summary(self) -> dict[str, float]:
        """The headline figures in percent; NaN where no class occurs."""
        result = self.panoptic.result()
        summary = {'pq': result.all.pq, 'sq': result.all.sq, 'rq': result.all.rq,
                   'pq_thing': result.things.pq, 'pq_stuff': result.stuff.pq,
                   'miou': self.semantic.result().miou}
        if self.average_precision:
            ap = self.average_precision.result()
            summary |= {'ap': ap.ap.mean, 'ap50': ap.ap50.mean, 'ap75': ap.ap75.mean}
        return summary

    def to_dict(self) -> dict[str, Any]:
        """All scores with those of each class, as plain values for JSON; None stands for NaN."""
        result = {**self.panoptic.result().to_dict(), 'semantic': self.semantic.result().to_dict()}
        if self.average_precision:
            result['average_precision'] = self.average_precision.result().to_dict()
        return result

    def per_class_rows(self) -> list[dict[str, Any]]:
        """A row for each class with all its scores, percent; None where it has none."""
        rows = self.panoptic.result().to_dict()['per_class']
        values = {'iou': self.semantic.result().iou}
        if self.average_precision:
            ap = self.average_precision.result()
            values |= {'ap': ap.ap.values, 'ap50': ap.ap50.values, 'ap75': ap.ap75.values}
        return [{**row, **{name: none_for_nan(column[i]) for name, column in values.items()}}
                for i, row in enumerate(rows)]

    def format(self) -> str:
        """Tables for people: things and stuff, each class, then the other figures."""
        result, summary = self.panoptic.result(), self.summary()
        lines = [f'mIoU {summary["miou"]:.1f}, {self.images} images']
        if self.average_precision:
            lines.append('AP {ap:.1f}, AP50 {ap50:.1f}, AP75 {ap75:.1f}'.format(**summary))
        return '\n\n'.join([result.format_table(), result.format_classes(), '\n'.join(lines)])
