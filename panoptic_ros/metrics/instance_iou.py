# SPDX-License-Identifier: Apache-2.0
"""Cityscapes' iIoU: IoU of classes in which each instance weighs the same.

Cordts et al., The Cityscapes Dataset, CVPR 2016, section 4.2. The weight of a ground-truth pixel
of a thing is the mean size of the class's instances divided by the size of its own instance;
iIoU = iTP / (iTP + FP + iFN), where false positives have weight 1. Only classes are compared, not
the predicted instances; stuff has no iIoU.

The mean sizes are those of the ground truth that was added. Cityscapes' own script has constants
instead, so its figures for another part of that data set differ slightly.
"""

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores, SumMetric
from panoptic_ros.metrics.image_pair import Overlaps


class InstanceIoU(SumMetric):
    """iIoU over images."""

    sums = ('found', 'pixels', 'false')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.found = np.zeros(len(labels))
        """(C,) sum over ground-truth instances of the fraction predicted as their class."""
        self.pixels = np.zeros((2, len(labels)), np.int64)
        """(2, C) number of ground-truth instances, and their pixels."""
        self.false = np.zeros(len(labels), np.int64)
        """(C,) pixels predicted as the class whose ground truth is another class."""

    def update(self, pair: Overlaps) -> None:
        """Add one image; pixels of crowds are neither missed nor false, void does not count."""
        counted = (pair.gt_area > 0) & ~pair.crowd
        correct = (pair.intersection * pair.same_class).sum(axis=1)
        classes = pair.gt_class[counted]
        np.add.at(self.found, classes, correct[counted] / pair.gt_area[counted])
        np.add.at(self.pixels[0], classes, 1)
        np.add.at(self.pixels[1], classes, pair.gt_area[counted])
        false = (pair.intersection * ~pair.same_class).sum(axis=0)
        np.add.at(self.false, pair.pred_class, false)

    def compute(self) -> ClassScores:
        """Return the scores of all images so far.

        The score is NaN for stuff, and for things neither in the ground truth nor predicted.
        """
        count, area = self.pixels
        mean_size = area / np.maximum(count, 1)
        with np.errstate(invalid='ignore'):
            # Each instance weighs mean_size pixels, so all instances of a class weigh their area.
            iou = 100 * self.found * mean_size / (area + self.false)
        return ClassScores(self.labels, 'iiou', np.where(self.labels.is_thing, iou, np.nan))
