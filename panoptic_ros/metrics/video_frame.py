"""What a frame of a video comes down to: how many pixels its true and predicted segments share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoptic_ros.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.overlap import Ints, find_runs

VOID_KEY = -1
"""Key of pixels without a class."""

TRACK_BITS = 32
"""A segment's key is `class_id << TRACK_BITS | track_id`: ids of different classes differ."""

MAX_TRACK_ID = 2**TRACK_BITS - 1

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FrameOverlap:
    """Overlaps of one frame, or of several taken as one (tubes)."""

    gt: Keys
    """(G,) keys, ascending, each once."""

    pred: Keys
    """(P,) keys, ascending, each once."""

    shared: npt.NDArray[np.int64]
    """(1 + G, 1 + P) pixels; row 0 and column 0 are void."""


def class_of(keys: Keys) -> npt.NDArray[np.int64]:
    """Class id of each key; -1 for void."""
    return keys >> TRACK_BITS


def track_of(keys: Keys) -> npt.NDArray[np.int64]:
    """Track id of each key that is not void."""
    return keys & MAX_TRACK_ID


def crowds(gt: Keys, is_thing: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of the (G,) true segments are crowds: things without a track."""
    return is_thing[class_of(gt)] & (track_of(gt) == 0)


def measure_frame(gt_class_map: Ints, gt_track_map: Ints, pred_class_map: Ints,
                  pred_track_map: Ints, labels: LabelSet) -> FrameOverlap:
    """Counts the pixels that each true segment shares with each predicted one, in one pass.

    Stuff has no tracks: what its pixels hold in the track maps does not matter.

    Args:
        gt_class_map: (H, W) class id, VOID_ID = void.
        gt_track_map: (H, W) track id, 0 to 2**32 - 1; 0 on a thing is a crowd.
        pred_class_map: as `gt_class_map`.
        pred_track_map: as `gt_track_map`; 0 on a thing is one segment like any other.
        labels: the classes.

    Raises:
        ValueError: if the maps differ in size or hold an id that is no class or no track id.
    """
    maps = gt_class_map, gt_track_map, pred_class_map, pred_track_map
    if len({a_map.shape for a_map in maps}) > 1:
        raise ValueError('class and track maps of ground truth and prediction must have the same '
                         f'size, got {", ".join(str(a_map.shape) for a_map in maps)}')
    rows = [a_map.reshape(-1) for a_map in maps]
    starts, lengths = find_runs(*rows)
    gt_class, gt_track, pred_class, pred_track = (row[starts] for row in rows)
    gt, i = np.unique(_keys(gt_class, gt_track, labels, 'ground truth'), return_inverse=True)
    pred, j = np.unique(_keys(pred_class, pred_track, labels, 'prediction'), return_inverse=True)
    counts = np.bincount(i * len(pred) + j, lengths, len(gt) * len(pred))
    counts = counts.reshape(len(gt), len(pred)).astype(np.int64)
    # Void's key is the least: where it occurs it is first already.
    counts = np.pad(counts, [(int(VOID_KEY not in gt), 0), (int(VOID_KEY not in pred), 0)])
    return FrameOverlap(gt[gt != VOID_KEY], pred[pred != VOID_KEY], counts)


def _keys(class_id: Ints, track_id: Ints, labels: LabelSet, what: str) -> Keys:
    """(R,) keys, checked."""
    void = class_id == VOID_ID
    wrong = class_id[~void & ((class_id < 0) | (class_id >= len(labels)))]
    if wrong.size:
        raise ValueError(f'{what}: class id {int(wrong[0])}, expected 0 to {len(labels) - 1} or '
                         f'{VOID_ID} (void)')
    is_thing = np.append(labels.is_thing, False)[np.where(void, len(labels), class_id)]
    track = np.where(is_thing, track_id, 0).astype(np.int64)
    wrong = track[(track < 0) | (track > MAX_TRACK_ID)]
    if wrong.size:
        raise ValueError(f'{what}: track id {int(wrong[0])}, expected 0 to {MAX_TRACK_ID}')
    return np.where(void, VOID_KEY, (class_id.astype(np.int64) << TRACK_BITS) | track)


def join(frames: Sequence[FrameOverlap]) -> FrameOverlap:
    """Takes frames as one: what each pair of segments shares in all of them together."""
    gt = np.unique(np.concatenate([frame.gt for frame in frames]))
    pred = np.unique(np.concatenate([frame.pred for frame in frames]))
    shared = np.zeros((1 + len(gt), 1 + len(pred)), np.int64)
    for frame in frames:
        rows = np.concatenate([[0], 1 + np.searchsorted(gt, frame.gt)])
        cols = np.concatenate([[0], 1 + np.searchsorted(pred, frame.pred)])
        shared[np.ix_(rows, cols)] += frame.shared
    return FrameOverlap(gt, pred, shared)
