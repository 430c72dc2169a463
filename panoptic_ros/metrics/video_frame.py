# SPDX-License-Identifier: Apache-2.0
"""Pixels that the ground-truth and predicted segments of a video frame share, by track."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.overlap import Ints, find_runs

VOID_KEY = -1
"""Key of void pixels."""

TRACK_BITS = 32
"""Bits of the track id in a segment's key, `class_id << TRACK_BITS | track_id`; so equal track ids
of different classes have different keys."""

MAX_TRACK_ID = 2**TRACK_BITS - 1

Keys = npt.NDArray[np.int64]


def class_of(keys: Keys) -> npt.NDArray[np.int64]:
    """Return the class id of each key; -1 for void."""
    return keys >> TRACK_BITS


def track_of(keys: Keys) -> npt.NDArray[np.int64]:
    """Return the track id of each key that is not void."""
    return keys & MAX_TRACK_ID


def measure_frame(
    gt_class_map: Ints,
    gt_track_map: Ints,
    pred_class_map: Ints,
    pred_track_map: Ints,
    labels: LabelSet,
) -> Overlaps:
    """Count the pixels that each ground-truth segment shares with each predicted one, in one pass.

    A track is a class and an id, so tracks of different classes may have the same id. Stuff has
    no tracks: the track ids of its pixels are ignored.

    Args:
        gt_class_map: (H, W) class id, VOID_ID = void.
        gt_track_map: (H, W) track id, 0 to 2**32 - 1; 0 on a thing marks a crowd, which need not
            be found.
        pred_class_map: (H, W) class id, VOID_ID = void.
        pred_track_map: (H, W) track id, 0 to 2**32 - 1; things of a class with track 0 are one
            segment.
        labels: the classes.

    Returns:
        Segments by key, in ascending order.

    Raises:
        ValueError: if the maps differ in size or hold an invalid class id or track id.
    """
    maps = gt_class_map, gt_track_map, pred_class_map, pred_track_map
    if len({a_map.shape for a_map in maps}) > 1:
        raise ValueError(
            'class and track maps of ground truth and prediction must have the same '
            f'size, got {", ".join(str(a_map.shape) for a_map in maps)}'
        )
    rows = [a_map.reshape(-1) for a_map in maps]
    starts, lengths = find_runs(*rows)
    gt_class, gt_track, pred_class, pred_track = (row[starts] for row in rows)
    gt_runs = _keys(gt_class, gt_track, labels, 'ground truth')
    pred_runs = _keys(pred_class, pred_track, labels, 'prediction')
    gt, pred = np.unique(gt_runs), np.unique(pred_runs)
    place = np.searchsorted(gt, gt_runs) * len(pred) + np.searchsorted(pred, pred_runs)
    counts = np.bincount(place, lengths, len(gt) * len(pred))
    counts = counts.reshape(len(gt), len(pred)).astype(np.int64)
    # The key of void is the smallest, so void is first where it occurs.
    counts = np.pad(counts, [(int(VOID_KEY not in gt), 0), (int(VOID_KEY not in pred), 0)])
    return _overlaps(gt[gt != VOID_KEY], pred[pred != VOID_KEY], counts, labels)


def _overlaps(gt: Keys, pred: Keys, shared: npt.NDArray[np.int64], labels: LabelSet) -> Overlaps:
    """Add the classes, and the crowds, which are things without a track, from the keys."""
    crowd = labels.is_thing[class_of(gt)] & (track_of(gt) == 0)
    return Overlaps(gt, pred, class_of(gt), class_of(pred), crowd, shared)


def _keys(class_id: Ints, track_id: Ints, labels: LabelSet, side: str) -> Keys:
    """Return the (R,) keys of class and track ids, checked."""
    void = class_id == VOID_ID
    wrong = class_id[~void & ((class_id < 0) | (class_id >= len(labels)))]
    if wrong.size:
        raise ValueError(
            f'{side}: class id {int(wrong[0])}, expected 0 to {len(labels) - 1} or '
            f'{VOID_ID} (void)'
        )
    is_thing = np.append(labels.is_thing, False)[np.where(void, len(labels), class_id)]
    track = np.where(is_thing, track_id, 0).astype(np.int64)
    wrong = track[(track < 0) | (track > MAX_TRACK_ID)]
    if wrong.size:
        raise ValueError(f'{side}: track id {int(wrong[0])}, expected 0 to {MAX_TRACK_ID}')
    return np.where(void, VOID_KEY, (class_id.astype(np.int64) << TRACK_BITS) | track)


def join(frames: Sequence[Overlaps], labels: LabelSet) -> Overlaps:
    """Join frames into one: the pixels that segments share in all of them together."""
    gt = np.unique(np.concatenate([frame.gt_ids for frame in frames]))
    pred = np.unique(np.concatenate([frame.pred_ids for frame in frames]))
    shared = np.zeros((1 + len(gt), 1 + len(pred)), np.int64)
    for frame in frames:
        rows = np.append(0, 1 + np.searchsorted(gt, frame.gt_ids))
        cols = np.append(0, 1 + np.searchsorted(pred, frame.pred_ids))
        shared[np.ix_(rows, cols)] += frame.shared
    return _overlaps(gt, pred, shared, labels)
