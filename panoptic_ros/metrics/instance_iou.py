# SPDX-License-Identifier: Apache-2.0
"""Cityscapes' iIoU: IoU of classes whose pixels count by the size of their instance.

Cordts et al., The Cityscapes Dataset, CVPR 2016, section 4.2. A true pixel of a thing weighs the
mean size of the class's instances over the size of its own instance, so that each instance counts
alike; iIoU = iTP / (iTP + FP + iFN), where false positives weigh 1. Only classes are compared,
not which instance was predicted; stuff has no iIoU.

The mean sizes are those of the truth that was seen. Cityscapes' own script has constants in their
place, so its figures for another part of that data set differ slightly.
"""

from __future__ import annotations

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores, SumMetric
from panoptic_ros.metrics.image_pair import Pair


class InstanceIoU(SumMetric):
    """Collects images one at a time; instances that saw different images can be merged."""

    sums = ('found', 'pixels', 'false')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.found = np.zeros(len(labels))
        """(C,) sum over true instances of the part of it that has its class, 0 to 1."""
        self.pixels = np.zeros((2, len(labels)), np.int64)
        """(2, C) true instances, and their pixels."""
        self.false = np.zeros(len(labels), np.int64)
        """(C,) pixels of a class where the truth has another one."""

    def add(self, pair: Pair) -> None:
        """Adds one image. A crowd's pixels are neither missed nor false; void does not count."""
        kept = (pair.gt_area > 0) & ~pair.crowd
        right = (pair.both * pair.same_class).sum(axis=1)
        classes = pair.gt_class[kept]
        np.add.at(self.found, classes, right[kept] / pair.gt_area[kept])
        np.add.at(self.pixels[0], classes, 1)
        np.add.at(self.pixels[1], classes, pair.gt_area[kept])
        np.add.at(self.false, pair.pred_class, (pair.both * ~pair.same_class).sum(axis=0))

    def result(self) -> ClassScores:
        """Scores of all images so far; NaN for stuff, and things neither true nor predicted."""
        count, area = self.pixels
        mean_size = area / np.maximum(count, 1)
        with np.errstate(invalid='ignore'):
            # Weighted, an instance has mean_size pixels; so all of a class have its area.
            iou = 100 * self.found * mean_size / (area + self.false)
        return ClassScores(self.labels, np.where(self.labels.is_thing, iou, np.nan))
