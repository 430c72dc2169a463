# SPDX-License-Identifier: Apache-2.0
"""PQ-dagger: panoptic quality without the threshold for stuff.

Porzi et al., Seamless Scene Segmentation, CVPR 2019, section 4.1. A stuff class has one segment in
an image, which cannot be mistaken for another; so it scores its mean IoU over the images that
show it. Things score their PQ.
"""

from __future__ import annotations

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores, SumMetric
from panoptic_ros.metrics.image_pair import Pair
from panoptic_ros.metrics.panoptic import PanopticResult


class PQDagger(SumMetric):
    """Collects images one at a time; instances that saw different images can be merged."""

    sums = ('iou_sum', 'count')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.iou_sum = np.zeros(len(labels))
        """(C,) sum of IoU over pairs of a true and a predicted segment of the class."""
        self.count = np.zeros(len(labels), np.int64)
        """(C,) true segments."""

    def add(self, pair: Pair) -> None:
        """Adds one image. Crowds do not count, nor do pixels that are void in the truth."""
        counted = (pair.gt_area > 0) & ~pair.crowd
        iou = (pair.iou * pair.same_class).sum(axis=1)
        np.add.at(self.iou_sum, pair.gt_class[counted], iou[counted])
        np.add.at(self.count, pair.gt_class[counted], 1)

    def result(self, panoptic: PanopticResult) -> ClassScores:
        """Scores of all images so far; NaN for stuff that is not in the truth.

        Args:
            panoptic: of the same images, whose things it takes over.
        """
        with np.errstate(invalid='ignore'):
            stuff = 100 * self.iou_sum / self.count
        return ClassScores(self.labels, np.where(self.labels.is_thing, panoptic.pq, stuff))
