# SPDX-License-Identifier: Apache-2.0
"""How long an embedding can be told to be the same thing's, without a tracker."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from panoptic_ros.metrics.overlap import Ints
from panoptic_ros.metrics.video_frame import track_of
from panoptic_ros.tracking.distance import Floats, unit

from .study import Clip

GAPS = (1, 2, 5, 10, 20)
"""Frames between the two looks at a thing."""

MATCH_IOU = 0.5


@dataclass(frozen=True)
class Stability:
    """Over all things that are found in a frame and again a gap later, among others; percent."""

    gap: int
    """Frames."""

    nearest: float
    """The thing's embedding is nearest to its own a gap later, of all things found there."""

    chance: float
    """The same if things were picked blindly."""

    pairs: int
    """Looks compared."""


def stability(clips: Iterable[Clip], gap: int) -> Stability:
    """How often the nearest embedding `gap` frames later, by cosine, is the same thing's."""
    right, chance = [], []
    for clip in clips:
        looks = [_looks(clip, i) for i in range(len(clip.frames))]
        for (old_ids, old), (new_ids, new) in zip(looks, looks[gap:], strict=False):
            if len(new_ids) < 2:
                continue
            again = np.isin(old_ids, new_ids)
            nearest = new_ids[(old[again] @ new.T).argmax(axis=1)]
            right += (nearest == old_ids[again]).tolist()
            chance += [1 / len(new_ids)] * int(again.sum())
    nearest, blind = (
        100 * float(np.mean(values)) if values else math.nan for values in (right, chance)
    )
    return Stability(gap, nearest, blind, len(right))


def _looks(clip: Clip, index: int) -> tuple[Ints, Floats]:
    """True tracks that a frame's things match by IoU, of any class, (L,); embeddings (L, D)."""
    overlaps, rows = clip.overlaps[index], clip.frames[index].segments
    rows = rows[np.argsort(rows['segment_id'])]
    gt = np.flatnonzero(track_of(overlaps.gt_ids))
    pred = np.flatnonzero(track_of(overlaps.pred_ids))
    i, j = np.nonzero(overlaps.iou[np.ix_(gt, pred)] > MATCH_IOU)
    place = np.searchsorted(rows['segment_id'], track_of(overlaps.pred_ids)[pred[j]])
    return overlaps.gt_ids[gt[i]], unit(rows['embedding'][place])
