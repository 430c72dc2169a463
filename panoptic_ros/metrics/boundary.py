# SPDX-License-Identifier: Apache-2.0
"""Boundary PQ: panoptic quality that large segments do not get for a rough outline.

Cheng et al., Boundary IoU, CVPR 2021, section 7. The boundary of a mask is what of it lies within
d pixels of its outline, d = 2 % of the image's diagonal; Boundary IoU is the IoU of two masks'
boundaries. Segments match, and score, by the smaller of mask IoU and Boundary IoU. The rest is
PQ: what is void in the truth counts nowhere, and crowd and void excuse predictions by their masks.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.metrics.image_pair import VOID_SEGMENT, Pair
from panoptic_ros.metrics.overlap import Ints, count_overlaps
from panoptic_ros.metrics.panoptic import PanopticQuality

DILATION_RATIO = 0.02
"""Depth of a boundary over the image's diagonal."""


def depth_px(shape: tuple[int, ...]) -> int:
    """Depth d of the boundaries in an image (H, W), at least 1."""
    return max(1, round(DILATION_RATIO * math.hypot(*shape)))


def boundaries(segment_map: Ints, depth: int) -> npt.NDArray[np.bool_]:
    """Pixels within `depth` of another segment or of the image's edge, by rows and columns.

    All segments in one go: who walks to another segment, a step in any of eight directions at a
    time, comes on the last step through a pixel that touches another one.

    Args:
        segment_map: (H, W) segment id, 0 = void.
        depth: in pixels, at least 1; diagonal neighbours are 1 apart.

    Returns:
        (H, W) True on the boundary of the pixel's own segment.
    """
    height, width = segment_map.shape
    touching = np.zeros((height, width), bool)
    if not segment_map.size:
        return touching
    touching[[0, -1]] = touching[:, [0, -1]] = True
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = slice(height - dy), slice(max(-dx, 0), width - max(dx, 0))
        other = slice(dy, height), slice(max(dx, 0), width - max(-dx, 0))
        differ = segment_map[one] != segment_map[other]
        touching[one] |= differ
        touching[other] |= differ
    square = np.ones((2 * depth - 1, 2 * depth - 1), np.uint8)
    return cv2.dilate(touching.view(np.uint8), square).view(bool)


class BoundaryQuality(PanopticQuality):
    """Collects images one at a time; instances that saw different images can be merged."""

    def add(self, pair: Pair) -> None:
        """Adds one image; see the head of the file."""
        depth = depth_px(pair.gt_map.shape)
        gt_map, pred_map = (
            np.where(boundaries(segment_map, depth), segment_map, VOID_SEGMENT)
            for segment_map in (pair.gt_map, pair.pred_map)
        )
        pred_map[pair.gt_map == VOID_SEGMENT] = VOID_SEGMENT
        shared = count_overlaps(
            gt_map, pair.gt_ids.tolist(), pred_map, pair.pred_ids.tolist(), void=VOID_SEGMENT
        )
        both = shared[1:, 1:]
        union = shared.sum(axis=1)[1:, None] + shared.sum(axis=0)[1:] - both
        smaller = both * pair.union < pair.both * union  # in integers
        self._match(pair, np.where(smaller, both, pair.both), np.where(smaller, union, pair.union))
