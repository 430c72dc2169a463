# SPDX-License-Identifier: Apache-2.0
"""Parsing Covering: IoU of the best prediction for each segment, weighted by the segment's area.

Yang et al., DeeperLab, 2019, section 4. For a class c with ground-truth regions R and predicted
regions R', over all images:

    PC_c = sum_R |R| max_R' IoU(R, R') / sum_R |R|

PC is the mean over the classes in the ground truth. Areas are in pixels, so larger images weigh
more if sizes differ.
"""

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores, SumMetric
from panoptic_ros.metrics.image_pair import Overlaps


class ParsingCovering(SumMetric):
    """Parsing Covering over images."""

    sums = ('covered', 'area')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.covered = np.zeros(len(labels))
        """(C,) sum of |R| max IoU, px."""
        self.area = np.zeros(len(labels), np.int64)
        """(C,) sum of |R|, px."""

    def update(self, pair: Overlaps) -> None:
        """Add one image; crowds and pixels that are void in the ground truth do not count."""
        best = (pair.iou * pair.same_class).max(axis=1, initial=0)  # (G,)
        counted = ~pair.crowd
        np.add.at(self.covered, pair.gt_class[counted], (pair.gt_area * best)[counted])
        np.add.at(self.area, pair.gt_class[counted], pair.gt_area[counted])

    def compute(self) -> ClassScores:
        """Return the scores of all images so far; NaN for classes not in the ground truth."""
        with np.errstate(invalid='ignore'):
            return ClassScores(self.labels, 'pc', 100 * self.covered / self.area)
