# SPDX-License-Identifier: Apache-2.0
"""Retrieval of things by their embeddings across frames, without a tracker."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from panoptic_ros.metrics.overlap import Ints
from panoptic_ros.metrics.video_frame import track_of
from panoptic_ros.tracking.distance import Floats, unit

from .study import Clip

GAPS = (1, 2, 5, 10, 20)
"""Frames from a query to the frame in which it is searched."""

MATCH_IOU = 0.5
"""IoU above which a segment shows a ground truth thing."""


@dataclass(frozen=True)
class EmbeddingRetrieval:
    """Retrieval scores at one gap, percent.

    The queries are all things that segments show both in a frame and a gap later. The segments
    of things in the later frame are ranked by cosine similarity.
    """

    gap: int
    """Frames from the query to the frame in which it is searched."""

    recall_at_1: float
    """Share of queries whose most similar embedding is of the same thing."""

    chance: float
    """Expected recall@1 of a random choice."""

    queries: int
    """Number of queries."""


def embedding_retrieval(clips: Iterable[Clip], gap: int) -> EmbeddingRetrieval:
    """Compute recall@1 of embeddings `gap` frames later, in frames with at least two things."""
    is_hit, chance = [], []
    for clip in clips:
        things = [_things(clip, i) for i in range(len(clip.frames))]
        for (old_ids, old), (new_ids, new) in zip(things, things[gap:], strict=False):
            if len(new_ids) < 2:
                continue
            is_query = np.isin(old_ids, new_ids)
            nearest = new_ids[(old[is_query] @ new.T).argmax(axis=1)]
            is_hit += (nearest == old_ids[is_query]).tolist()
            chance += [1 / len(new_ids)] * int(is_query.sum())
    recall, expected = (
        100 * float(np.mean(values)) if values else math.nan for values in (is_hit, chance)
    )
    return EmbeddingRetrieval(gap, recall, expected, len(is_hit))


def _things(clip: Clip, index: int) -> tuple[Ints, Floats]:
    """Return ground truth tracks, (L,), that a frame's things match, and embeddings, (L, D).

    The classes need not agree.
    """
    overlaps, rows = clip.overlaps[index], clip.frames[index].segments
    rows = rows[np.argsort(rows['segment_id'])]
    gt = np.flatnonzero(track_of(overlaps.gt_ids))
    pred = np.flatnonzero(track_of(overlaps.pred_ids))
    i, j = np.nonzero(overlaps.iou[np.ix_(gt, pred)] > MATCH_IOU)
    place = np.searchsorted(rows['segment_id'], track_of(overlaps.pred_ids)[pred[j]])
    return overlaps.gt_ids[gt[i]], unit(rows['embedding'][place])
