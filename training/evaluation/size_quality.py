# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality of small, medium and large segments, by COCO's limits of area."""

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.panoptic import (
    PanopticResult,
    SegmentMatches,
    match_segments,
    missed_segments,
)

SIZES = {'small': 0, 'medium': 32**2, 'large': 96**2}
"""Smallest area of each size, px (Lin et al. 2014)."""


class SizeQuality:
    """Panoptic quality by size.

    Matched and missed segments count by the area of the ground truth, false ones by their own, so
    that each segment counts once.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.matches = {size: SegmentMatches(labels) for size in SIZES}

    def update(self, pair: Overlaps) -> None:
        """Add one image."""
        matched, is_false = match_segments(pair, pair.intersection, pair.union)
        is_missed = missed_segments(pair, matched)
        limits = list(SIZES.values())[1:]
        gt_size, pred_size = (
            np.searchsorted(limits, area, 'right') for area in (pair.gt_area, pair.pred_area)
        )
        for i, metric in enumerate(self.matches.values()):
            metric.count(
                pair,
                matched & (gt_size == i)[:, None],
                is_false & (pred_size == i),
                is_missed & (gt_size == i),
                pair.intersection,
                pair.union,
            )

    def compute(self) -> dict[str, PanopticResult]:
        """Return the scores of all images so far, by size."""
        return {size: metric.quality() for size, metric in self.matches.items()}
