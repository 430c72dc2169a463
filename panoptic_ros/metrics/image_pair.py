# SPDX-License-Identifier: Apache-2.0
"""Pair of ground truth and prediction of one image, with the pixels that their segments share.

All image metrics read such a pair, so the pixels of an image are counted once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.overlap import Ints, count_overlaps

VOID_SEGMENT = 0
"""Id of pixels without a segment, in frames as in panoptic PNGs."""


@dataclass(frozen=True)
class Overlaps:
    """Pixels that G ground-truth and P predicted segments share, without the maps."""

    gt_ids: npt.NDArray[np.int64]
    """(G,) segment id."""

    pred_ids: npt.NDArray[np.int64]
    """(P,) segment id."""

    gt_class: npt.NDArray[np.int64]
    """(G,) class id."""

    pred_class: npt.NDArray[np.int64]
    """(P,) class id."""

    crowd: npt.NDArray[np.bool_]
    """(G,) True for crowds."""

    shared: npt.NDArray[np.int64]
    """(1 + G, 1 + P) pixels in common; row and column 0 are void."""

    @property
    def intersection(self) -> npt.NDArray[np.int64]:
        """(G, P) pixels in common."""
        return self.shared[1:, 1:]

    @property
    def void(self) -> npt.NDArray[np.int64]:
        """(P,) pixels of each prediction that are void in the ground truth."""
        return self.shared[0, 1:]

    @cached_property
    def gt_area(self) -> npt.NDArray[np.int64]:
        """(G,) pixels; 0 for listed segments that are not in the map."""
        return self.shared.sum(axis=1)[1:]

    @cached_property
    def pred_area(self) -> npt.NDArray[np.int64]:
        """(P,) pixels; 0 for listed segments that are not in the map."""
        return self.shared.sum(axis=0)[1:]

    @cached_property
    def union(self) -> npt.NDArray[np.int64]:
        """(G, P) pixels in either, without those that are void in the ground truth."""
        return self.gt_area[:, None] + self.pred_area - self.intersection - self.void

    @cached_property
    def iou(self) -> npt.NDArray[np.float64]:
        """(G, P) intersection over union, 0 to 1; 0 between segments without a pixel."""
        return self.intersection / np.maximum(self.union, 1)

    @cached_property
    def same_class(self) -> npt.NDArray[np.bool_]:
        """(G, P) True if both segments have the same class."""
        return self.gt_class[:, None] == self.pred_class

    @cached_property
    def excused(self) -> npt.NDArray[np.int64]:
        """(P,) pixels of each prediction on void and on crowds of its class."""
        on_crowd = self.intersection * (self.same_class & self.crowd[:, None])
        return self.void + on_crowd.sum(axis=0)


@dataclass(frozen=True)
class ImagePair(Overlaps):
    """Two segmentations of an image, G ground-truth and P predicted segments."""

    gt_map: Ints
    """(H, W) segment id, 0 = void."""

    pred_map: Ints
    """(H, W) segment id, 0 = void."""

    pred_scores: npt.NDArray[np.floating[Any]] | None
    """(P,) confidence of each predicted segment; None if the segments have none."""


def pair_segments(
    labels: LabelSet,
    gt_segment_map: Ints,
    gt_segments: Mapping[int, int],
    pred_segment_map: Ints,
    pred_segments: Mapping[int, int],
    gt_crowd: Collection[int] = (),
    pred_scores: npt.NDArray[np.floating[Any]] | None = None,
) -> ImagePair:
    """Pair two segmentations of an image and count the pixels that their segments share.

    Args:
        labels: the classes.
        gt_segment_map: (H, W) segment id, 0 = void.
        gt_segments: class id of each of its G segments.
        pred_segment_map: (H, W) segment id, 0 = void.
        pred_segments: class id of each of its P segments.
        gt_crowd: ids of the ground-truth segments that are crowds.
        pred_scores: (P,) confidence of each predicted segment, which average precision needs.

    Raises:
        ValueError: if the maps differ in size or hold an id that is not listed, a class is not in
            the label set, or there is not one finite score per predicted segment.

    Example:
        A car of 4 px, of which 3 px were found, on a road:

        >>> import numpy as np
        >>> from panoptic_ros.core.labels import Label, LabelSet
        >>> from panoptic_ros.metrics.panoptic import PanopticQuality
        >>> road = Label('road', False, (128, 64, 128), category_id=7)
        >>> labels = LabelSet((road, Label('car', True, (0, 0, 142), category_id=26)))
        >>> gt_map, pred_map = np.array([[1, 1, 2, 2, 2, 2]]), np.array([[1, 1, 1, 2, 2, 2]])
        >>> metric = PanopticQuality(labels)
        >>> metric.update(pair_segments(labels, gt_map, {1: 0, 2: 1}, pred_map, {1: 0, 2: 1}))
        >>> metric.compute().pq.round(1).tolist()
        [66.7, 75.0]
    """
    gt_class = _classes(labels, gt_segments, 'ground truth')
    pred_class = _classes(labels, pred_segments, 'prediction')
    if pred_scores is not None and not (
        pred_scores.shape == pred_class.shape and np.isfinite(pred_scores).all()
    ):
        raise ValueError(
            f'expected a finite score for each of {len(pred_segments)} segments, got {pred_scores}'
        )
    shared = count_overlaps(
        gt_segment_map, gt_segments, pred_segment_map, pred_segments, void=VOID_SEGMENT
    )
    return ImagePair(
        np.array([*gt_segments], np.int64),
        np.array([*pred_segments], np.int64),
        gt_class,
        pred_class,
        np.array([i in gt_crowd for i in gt_segments], bool),
        shared,
        gt_segment_map,
        pred_segment_map,
        pred_scores,
    )


def _classes(labels: LabelSet, segments: Mapping[int, int], side: str) -> npt.NDArray[np.int64]:
    """Return the (S,) class ids of segments, checked."""
    for segment, class_id in segments.items():
        if not 0 <= class_id < len(labels):
            raise ValueError(
                f'{side}: segment {segment} has class {class_id}, expected 0 to {len(labels) - 1}'
            )
    return np.fromiter(segments.values(), np.int64, len(segments))
