# SPDX-License-Identifier: Apache-2.0
"""Share of the pixels on which two results of an image differ."""

import cv2
import numpy as np

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.metrics.overlap import count_overlaps


def changed_share(a: PanopticFrame, b: PanopticFrame) -> float:
    """Return the share of the pixels, 0 to 1, on which two results of an image differ.

    Pixels agree if both results have the same stuff there, or both have void, or things of one
    class that overlap with an IoU of more than 0.5.
    """
    b_map = b.segment_map
    if b_map.shape != a.segment_map.shape:  # models of other strides
        size = a.segment_map.shape[1], a.segment_map.shape[0]
        b_map = np.asarray(cv2.resize(b_map, size, interpolation=cv2.INTER_NEAREST_EXACT))
    shared = count_overlaps(
        a.segment_map, a.segments['segment_id'], b_map, b.segments['segment_id'], void=0
    )
    union = shared.sum(axis=1)[1:, None] + shared.sum(axis=0)[1:] - shared[1:, 1:]
    is_same = a.segments['class_id'][:, None] == b.segments['class_id']
    is_stuff = a.segments['is_thing'][:, None] == 0
    agrees = is_same & (is_stuff | (2 * shared[1:, 1:] > union))
    return 1 - float(shared[0, 0] + shared[1:, 1:][agrees].sum()) / a.segment_map.size
