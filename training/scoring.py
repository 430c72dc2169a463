"""Scores of predictions against samples; used by validation and by `panoptic evaluate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import VOID_ID, LabelSet
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
    """PQ family and mIoU of one model on one data set."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.panoptic = PanopticQuality(labels)
        self.semantic = MeanIoU(labels)

    def update(self, sample: Sample, frame: PanopticFrame) -> None:
        """Adds one image and its prediction, which is compared at the sample's size."""
        gt_map, gt_classes, crowds = gt_segments(sample, self.labels.is_thing)
        to_camera = frame.geometry.to_camera
        self.panoptic.update(gt_map, gt_classes, to_camera(frame.segment_map),
                             frame_classes(frame), crowds)
        self.semantic.update(sample.class_map, to_camera(frame.semantic_map))

    @property
    def counts(self) -> tuple[npt.NDArray[Any], ...]:
        """The arrays that add up over processes."""
        return self.panoptic.iou_sum, self.panoptic.counts, self.semantic.confusion

    def summary(self) -> dict[str, float]:
        """The headline figures in percent; NaN where no class occurs."""
        result = self.panoptic.result()
        return {'pq': result.all.pq, 'sq': result.all.sq, 'rq': result.all.rq,
                'pq_thing': result.things.pq, 'pq_stuff': result.stuff.pq,
                'miou': self.semantic.result().miou}
