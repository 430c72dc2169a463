# SPDX-License-Identifier: Apache-2.0
"""Trackers compared on recorded clips: the same masks, other ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import TRACK_BITS, measure_frame, track_of
from panoptic_ros.tracking import Tracker, TrackerConfig

from .recorded import RecordedClip

STEPS = (1, 2, 5)
"""Every how many frames the trackers see one: 20, 10 and 4 a second."""

OURS = TrackerConfig()

IOU_ONLY = TrackerConfig(
    embedding_weight=0,
    class_cost=0,
    box_expansion=1,
    reid_gate=0,
    min_overlap=0,
    max_age=1.43,
    match_threshold=0.917,
    low_score_match_threshold=0.488,
    high_score_threshold=0.798,
    new_track_threshold=0.781,
    tentative_age=1.33,
    velocity_time_constant=0.337,
    smooth=False,
)
"""Two rounds of mask and box overlap after linear motion, as in ByteTrack (Zhang et al., ECCV
2022); what it has in common with ours was tuned for it in the
same way."""

TRACKERS: Mapping[str, TrackerConfig] = {
    'ours': OURS,
    'without embeddings': replace(OURS, embedding_weight=0),
    'IoU only': IOU_ONLY,
}


SHOWN_IOU = 0.1
"""Overlap from which on a segment shows a thing."""

NOTHING = 1 << 31
"""Ids above are of segments that show no thing, in `ideal`."""


@dataclass(frozen=True)
class Clip:
    """A recorded clip, its pixels counted once; T frames."""

    frames: Sequence[PanopticFrame]

    overlaps: Sequence[Overlaps]
    """What true tracks and predicted segments share in each frame; the predictions' keys hold
    segment ids for track ids."""


def count(clip: RecordedClip, labels: LabelSet, stride: int = 1) -> Clip:
    """Counts what the segments of each frame share with what is there.

    Args:
        clip: as recorded.
        labels: the classes.
        stride: only every how many rows and columns are looked at.
    """
    overlaps = []
    for frame, class_map, track_map in zip(
        clip.frames, clip.class_maps, clip.track_maps, strict=True
    ):
        classes, segments = (
            frame.geometry.to_camera(cells)[::stride, ::stride]
            for cells in (frame.semantic_map, frame.segment_map)
        )
        overlaps.append(
            measure_frame(
                class_map[::stride, ::stride],
                track_map[::stride, ::stride],
                classes,
                segments,
                labels,
            )
        )
    return Clip(clip.frames, overlaps)


def with_tracks(overlaps: Overlaps, tracked: PanopticFrame) -> Overlaps:
    """The same with the tracker's ids, and its classes, for those of the segments.

    Segments that come to have the same class and id are one.
    """
    rows = tracked.segments[tracked.segments['is_thing'] == 1]
    key = overlaps.pred_ids.copy()
    table = dict(
        zip(
            rows['segment_id'].tolist(),
            ((rows['class_id'].astype(np.int64) << TRACK_BITS) | rows['track_id']).tolist(),
            strict=True,
        )
    )
    segment = track_of(key)  # 0 for stuff, which keeps its keys
    place = np.flatnonzero(segment)
    key[place] = [table[i] for i in segment[place].tolist()]
    pred, column = np.unique(key, return_inverse=True)
    shared = np.zeros((1 + len(pred), len(overlaps.shared)), np.int64)
    np.add.at(shared, np.append(0, 1 + column), overlaps.shared.T)
    return Overlaps(
        overlaps.gt_ids, pred, overlaps.gt_class, pred >> TRACK_BITS, overlaps.crowd, shared.T
    )


def track(clip: Clip, config: TrackerConfig, step: int) -> Iterator[Overlaps]:
    """What a tracker that sees every `step`-th frame makes of a clip."""
    tracker = Tracker(config)
    for frame, overlaps in zip(clip.frames[::step], clip.overlaps[::step], strict=True):
        yield with_tracks(overlaps, tracker.update(frame))


def ideal(clip: Clip, step: int) -> Iterator[Overlaps]:
    """What no tracker can do better: each segment has the id of the thing that it shows most of.

    Segments that show no thing well enough have one of their own.
    """
    for frame, overlaps in zip(clip.frames[::step], clip.overlaps[::step], strict=True):
        rows = frame.segments.copy()
        rows['track_id'] = NOTHING + rows['segment_id']
        here = np.flatnonzero(track_of(overlaps.gt_ids))
        if len(here):
            iou = overlaps.iou[here]  # (things, segments)
            ids = np.where(
                iou.max(axis=0) >= SHOWN_IOU,
                track_of(overlaps.gt_ids[here])[iou.argmax(axis=0)],
                0,
            )
            by_segment = dict(zip(track_of(overlaps.pred_ids).tolist(), ids.tolist(), strict=True))
            for row in rows:
                row['track_id'] = by_segment.get(int(row['segment_id']), 0) or row['track_id']
        yield with_tracks(overlaps, replace(frame, segments=rows))


def score(clip: Clip, labels: LabelSet, config: TrackerConfig | None, step: int) -> VideoScores:
    """Scores of one clip for a tracker that sees every `step`-th frame; None for `ideal`."""
    scores = VideoScores(labels)
    for overlaps in track(clip, config, step) if config else ideal(clip, step):
        scores.add(overlaps)
    scores.end_clip()
    return scores


def summary(parts: Iterable[VideoScores], labels: LabelSet) -> dict[str, Any]:
    """Scores of several clips together, see `VideoResult.summary`."""
    scores = VideoScores(labels)
    for part in parts:
        scores.merge(part)
    return scores.result().summary()


def things_per_frame(clip: Clip) -> float:
    """Mean number of true tracks in sight."""
    return float(np.mean([np.count_nonzero(track_of(o.gt_ids)) for o in clip.overlaps]))
