# SPDX-License-Identifier: Apache-2.0
"""PQ-dagger: panoptic quality without the match threshold for stuff.

Porzi et al., Seamless Scene Segmentation, CVPR 2019, section 4.1. A stuff class has one segment in
an image, which cannot be confused with another one, so its score is the mean IoU over the images
that show it. The score of a thing class is its PQ.
"""

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.panoptic import SegmentMatches


class PQDagger(SegmentMatches):
    """PQ-dagger over images."""

    sums = (*SegmentMatches.sums, 'stuff_iou_sum', 'stuff_count')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.stuff_iou_sum = np.zeros(len(labels))
        """(C,) sum of IoU over pairs of a ground-truth and a predicted segment of the class."""
        self.stuff_count = np.zeros(len(labels), np.int64)
        """(C,) ground-truth segments."""

    def update(self, pair: Overlaps) -> None:
        """Add one image; crowds and pixels that are void in the ground truth do not count."""
        self.match(pair, pair.intersection, pair.union)
        counted = (pair.gt_area > 0) & ~pair.crowd
        iou = (pair.iou * pair.same_class).sum(axis=1)
        np.add.at(self.stuff_iou_sum, pair.gt_class[counted], iou[counted])
        np.add.at(self.stuff_count, pair.gt_class[counted], 1)

    def compute(self) -> ClassScores:
        """Return the scores of all images so far; NaN for stuff not in the ground truth."""
        with np.errstate(invalid='ignore'):
            stuff = 100 * self.stuff_iou_sum / self.stuff_count
        values = np.where(self.labels.is_thing, self.quality().pq, stuff)
        return ClassScores(self.labels, 'pq', values)
