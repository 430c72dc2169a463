# SPDX-License-Identifier: Apache-2.0
"""Kinds of errors of the segments of an image: missed, wrong class, split, merged, extra."""

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.panoptic import PanopticResult, match_segments, missed_segments


class ErrorKind(Enum):
    """What is wrong with a segment; the value is the name in the page."""

    MISSED = 'missed'
    """Nothing was found in its place."""

    WRONG_CLASS = 'wrong class'
    """A prediction of another class has an IoU of more than one half with it."""

    SPLIT = 'split'
    """At least two predictions of its class lie in it with more than half of their area."""

    MERGED = 'merged'
    """It matches nothing, and a prediction of its class covers more than half of it and more than
    half of another segment of this class."""

    EXTRA = 'extra'
    """A prediction that matches nothing and belongs to none of the other errors."""


class SegmentError(NamedTuple):
    """Error of one segment."""

    kind: ErrorKind

    class_id: int
    """Class in the ground truth; for an extra segment the predicted one."""

    predicted_id: int | None = None
    """Class of the prediction that has an IoU of more than one half with a segment of the ground
    truth; None if none has."""


def find_errors(pair: Overlaps) -> list[SegmentError]:
    """Return the errors of an image, first those of the ground truth in the order of its segments.

    Each ground-truth segment without a match has exactly one error: wrong class, else merged, else
    split, else missed. A segment with a match has one if it is split. Crowds have none, and
    predicted pixels that are void in the ground truth do not count.

    Args:
        pair: the image.
    """
    matched, is_false = match_segments(pair, pair.intersection, pair.union)
    is_missed = missed_segments(pair, matched)
    wrong = (2 * pair.intersection > pair.union) & ~pair.same_class & ~pair.crowd[:, None]
    same = pair.same_class & ~pair.crowd[:, None]  # (G, P)
    covers = same & (2 * pair.intersection > pair.gt_area[:, None])
    inside = same & (2 * pair.intersection > pair.pred_area - pair.void)
    merges = covers & (covers.sum(axis=0) >= 2)
    splits = inside & (inside.sum(axis=1, keepdims=True) >= 2)

    errors, explained = [], matched.any(axis=0)
    for g in range(len(pair.gt_ids)):
        if is_missed[g] and wrong[g].any():
            (place,) = np.flatnonzero(wrong[g])
            predicted = int(pair.pred_class[place])
            errors.append(SegmentError(ErrorKind.WRONG_CLASS, int(pair.gt_class[g]), predicted))
            explained |= wrong[g]
        elif is_missed[g] and merges[g].any():
            errors.append(SegmentError(ErrorKind.MERGED, int(pair.gt_class[g])))
            explained |= merges[g]
        elif splits[g].any():
            class_id = int(pair.gt_class[g])
            found = None if is_missed[g] else class_id
            errors.append(SegmentError(ErrorKind.SPLIT, class_id, found))
            explained |= splits[g]
        elif is_missed[g]:
            errors.append(SegmentError(ErrorKind.MISSED, int(pair.gt_class[g])))
    extra = pair.pred_class[is_false & ~explained]
    return errors + [SegmentError(ErrorKind.EXTRA, int(class_id)) for class_id in extra]


def confusion_matrix(
    result: PanopticResult, errors: Iterable[SegmentError]
) -> npt.NDArray[np.int64]:
    """Count ground-truth segments by their class and the class that was predicted.

    Args:
        result: matches of the C classes.
        errors: of the same images.

    Returns:
        (C + 1, C + 1). Row C counts extra segments by their predicted class; column C counts
        ground-truth segments that no prediction of any class covers with an IoU over one half.
    """
    count = len(result.labels)
    matrix = np.zeros((count + 1, count + 1), np.int64)
    matrix[np.arange(count), np.arange(count)] = result.tp
    for kind, class_id, predicted_id in errors:
        if kind is ErrorKind.EXTRA:
            matrix[count, class_id] += 1
        elif kind is ErrorKind.WRONG_CLASS:
            matrix[class_id, predicted_id] += 1
    matrix[:count, count] = result.tp + result.fn - matrix[:count, :count].sum(axis=1)
    return matrix
