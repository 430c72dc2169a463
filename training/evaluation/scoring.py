# SPDX-License-Identifier: Apache-2.0
"""Pairs of sample and prediction, as the image metrics read them."""

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.image_pair import ImagePair, pair_segments

from ..data.sample import Sample


def gt_segments(
    sample: Sample, is_thing: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], dict[int, int], set[int]]:
    """Return the segments in the labels of a sample.

    Pixels of a thing class without an instance are a crowd.

    Args:
        sample: image and labels.
        is_thing: (C,) True for thing classes.

    Returns:
        Segment map (H, W) with 0 = void, class id of each segment, ids of crowds.
    """
    class_map = sample.class_map.astype(np.int32)
    segment_map = np.where(sample.instance_map > 0, sample.instance_map + VOID_ID, class_map + 1)
    segment_map[class_map == VOID_ID] = 0
    ids, first = np.unique(segment_map, return_index=True)
    classes = {
        int(i): int(class_map.flat[place]) for i, place in zip(ids, first, strict=True) if i
    }
    crowds = {i for i, class_id in classes.items() if i <= VOID_ID and is_thing[class_id]}
    return segment_map, classes, crowds


def pair_of(sample: Sample, frame: PanopticFrame, labels: LabelSet) -> ImagePair:
    """Pair a sample with its prediction, at the resolution of the sample."""
    gt_map, gt_classes, crowds = gt_segments(sample, labels.is_thing)
    return pair_segments(
        labels,
        gt_map,
        gt_classes,
        frame.geometry.to_camera(frame.segment_map),
        frame.class_of_segment,
        crowds,
        frame.segments['score'],
    )
