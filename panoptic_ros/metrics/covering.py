# SPDX-License-Identifier: Apache-2.0
"""Parsing Covering: how well the truth's regions are covered, large ones counting more.

Yang et al., DeeperLab, 2019, section 4. Of a class c with true regions R and predicted regions R':
PC_c = sum_R |R| max_R' IoU(R, R') / sum_R |R|, over all images; PC is the mean over classes that
are in the truth. Areas are pixels, so that larger images count more where sizes differ.
"""

from __future__ import annotations

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import ClassScores, SumMetric
from panoptic_ros.metrics.image_pair import Pair


class ParsingCovering(SumMetric):
    """Collects images one at a time; instances that saw different images can be merged."""

    sums = ('covered', 'area')

    def __init__(self, labels: LabelSet) -> None:
        super().__init__(labels)
        self.covered = np.zeros(len(labels))
        """(C,) sum of |R| max IoU, px."""
        self.area = np.zeros(len(labels), np.int64)
        """(C,) sum of |R|, px."""

    def add(self, pair: Pair) -> None:
        """Adds one image. Crowds do not count, nor do pixels that are void in the truth."""
        best = (pair.iou * pair.same_class).max(axis=1, initial=0)  # (G,)
        kept = ~pair.crowd
        np.add.at(self.covered, pair.gt_class[kept], (pair.gt_area * best)[kept])
        np.add.at(self.area, pair.gt_class[kept], pair.gt_area[kept])

    def result(self) -> ClassScores:
        """Scores of all images so far; NaN for classes that are not in the truth."""
        with np.errstate(invalid='ignore'):
            return ClassScores(self.labels, 100 * self.covered / self.area)
