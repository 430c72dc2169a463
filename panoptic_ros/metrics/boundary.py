# SPDX-License-Identifier: Apache-2.0
"""Boundary PQ: panoptic quality that is sensitive to the outlines of large segments.

Cheng et al., Boundary IoU, CVPR 2021, section 7. The boundary of a mask is its part within d
pixels of the outline, with d = 2 % of the image's diagonal; Boundary IoU is the IoU of the
boundaries of two masks. Segments match, and score, by the smaller of mask IoU and Boundary IoU.
All else is as in PQ: pixels that are void in the ground truth do not count, and predictions are
excused by the part of their mask on crowd and void.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.metrics.image_pair import VOID_SEGMENT, ImagePair
from panoptic_ros.metrics.overlap import Ints, count_overlaps
from panoptic_ros.metrics.panoptic import PanopticResult, SegmentMatches

DILATION_RATIO = 0.02
"""Ratio of a boundary's depth to the image's diagonal."""


def depth_px(shape: tuple[int, ...]) -> int:
    """Return the depth d of boundaries in an image of (H, W), px, at least 1."""
    return max(1, round(DILATION_RATIO * math.hypot(*shape)))


def boundaries(segment_map: Ints, depth: int) -> npt.NDArray[np.bool_]:
    """Find the pixels within `depth` of another segment or of the image's edge.

    All segments are processed at once. A pixel is within `depth` of another segment if a pixel
    that touches another segment lies within `depth - 1` of it, so the pixels that touch another
    segment are dilated by a square.

    Args:
        segment_map: (H, W) segment id, 0 = void.
        depth: chessboard distance in pixels, at least 1.

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


class BoundaryQuality(SegmentMatches):
    """Boundary PQ over images."""

    def update(self, pair: ImagePair) -> None:
        """Add one image."""
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
        smaller = both * pair.union < pair.intersection * union  # in integers
        self.match(
            pair, np.where(smaller, both, pair.intersection), np.where(smaller, union, pair.union)
        )

    def compute(self) -> PanopticResult:
        """Return the scores of all images so far."""
        return self.quality()
