# SPDX-License-Identifier: Apache-2.0
"""A prediction beside the truth: what all image metrics read, counted once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.overlap import Ints, count_overlaps

VOID_SEGMENT = 0
"""Id of pixels without a segment, in frames as in panoptic PNGs."""


@dataclass(frozen=True)
class Overlaps:
    """What G true and P predicted segments share, without their pixels."""

    gt_ids: npt.NDArray[np.int64]
    """(G,)"""

    pred_ids: npt.NDArray[np.int64]
    """(P,)"""

    gt_class: npt.NDArray[np.int64]
    """(G,) class id."""

    pred_class: npt.NDArray[np.int64]
    """(P,) class id."""

    crowd: npt.NDArray[np.bool_]
    """(G,) True for crowds."""

    shared: npt.NDArray[np.int64]
    """(1 + G, 1 + P) pixels in common; row and column 0 are void."""

    @property
    def both(self) -> npt.NDArray[np.int64]:
        """(G, P) pixels in common."""
        return self.shared[1:, 1:]

    @property
    def void(self) -> npt.NDArray[np.int64]:
        """(P,) pixels of each prediction where the truth is void."""
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
        """(G, P) pixels in either, without those where the truth is void."""
        return self.gt_area[:, None] + self.pred_area - self.both - self.void

    @cached_property
    def iou(self) -> npt.NDArray[np.float64]:
        """(G, P) intersection over union, 0 to 1; 0 between segments without a pixel."""
        return self.both / np.maximum(self.union, 1)

    @cached_property
    def same_class(self) -> npt.NDArray[np.bool_]:
        """(G, P) True where the two are of one class."""
        return self.gt_class[:, None] == self.pred_class

    @cached_property
    def excused(self) -> npt.NDArray[np.int64]:
        """(P,) pixels of each prediction on void and on crowds of its class."""
        return self.void + (self.both * (self.same_class & self.crowd[:, None])).sum(axis=0)


@dataclass(frozen=True)
class Pair(Overlaps):
    """Two segmentations of an image, G true and P predicted segments; see `compare`."""

    gt_map: Ints
    """(H, W) segment id, 0 = void."""

    pred_map: Ints
    """(H, W) segment id, 0 = void."""


def compare(
    labels: LabelSet,
    gt_segment_map: Ints,
    gt_segments: Mapping[int, int],
    pred_segment_map: Ints,
    pred_segments: Mapping[int, int],
    gt_crowd: Collection[int] = (),
) -> Pair:
    """Counts what two segmentations share.

    Args:
        labels: the classes.
        gt_segment_map: (H, W) segment id, 0 = void.
        gt_segments: class id of each segment in it.
        pred_segment_map: (H, W) segment id, 0 = void.
        pred_segments: class id of each segment in it.
        gt_crowd: ids of the true segments that are crowds.

    Raises:
        ValueError: if the maps differ in size, hold an unlisted id, or a class is not in the
            label set.
    """
    gt_class = _classes(labels, gt_segments, 'ground truth')
    pred_class = _classes(labels, pred_segments, 'prediction')
    shared = count_overlaps(
        gt_segment_map, gt_segments, pred_segment_map, pred_segments, void=VOID_SEGMENT
    )
    return Pair(
        np.array([*gt_segments], np.int64),
        np.array([*pred_segments], np.int64),
        gt_class,
        pred_class,
        np.array([i in gt_crowd for i in gt_segments], bool),
        shared,
        gt_segment_map,
        pred_segment_map,
    )


def _classes(labels: LabelSet, segments: Mapping[int, int], what: str) -> npt.NDArray[np.int64]:
    """(S,) class ids, checked."""
    for segment, class_id in segments.items():
        if not 0 <= class_id < len(labels):
            raise ValueError(
                f'{what}: segment {segment} has class {class_id}, expected 0 to {len(labels) - 1}'
            )
    return np.fromiter(segments.values(), np.int64, len(segments))
