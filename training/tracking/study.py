# SPDX-License-Identifier: Apache-2.0
"""Comparison of trackers on recorded clips: the same masks with different track ids."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import TRACK_BITS, measure_frame, track_of
from panoptic_ros.tracking import Tracker, TrackerConfig, View

from .recorded import RecordedClip

STEPS = (1, 2, 5)
"""Strides at which trackers see frames: 20, 10 and 4 frames per second."""

DEFAULT = TrackerConfig()

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
"""Two passes by the overlap of masks and boxes after linear motion, as in ByteTrack (Zhang et al.,
ECCV 2022); the settings that it shares with `DEFAULT` were tuned for it in the same way."""

TRACKERS: Mapping[str, TrackerConfig] = {
    'default': DEFAULT,
    'with camera motion': replace(DEFAULT, camera_motion=True),
    'without embeddings': replace(DEFAULT, embedding_weight=0),
    'IoU only': IOU_ONLY,
}


MIN_GT_IOU = 0.1
"""Least IoU with which a segment gets the id of a ground truth thing in `with_gt_ids`."""

FIRST_UNMATCHED_ID = 1 << 31
"""Added to the segment ids of the other segments in `with_gt_ids`."""


@dataclass(frozen=True)
class Clip:
    """Recorded clip with the overlaps of its segments, which all trackers share; T frames."""

    frames: Sequence[PanopticFrame]

    images: npt.NDArray[np.uint8]
    """(T, H, W) grey images."""

    views: Sequence[View]
    """Pose of the camera at each frame."""

    overlaps: Sequence[Overlaps]
    """Overlaps of ground truth tracks and predicted segments in each frame; the keys of the
    predictions hold segment ids in place of track ids."""


def count(clip: RecordedClip, labels: LabelSet, stride: int = 1) -> Clip:
    """Count the overlaps of a clip's segments with the ground truth.

    Args:
        clip: recorded clip.
        labels: the classes.
        stride: of the rows and columns that are counted.
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
    return Clip(clip.frames, clip.images, clip.views, overlaps)


def with_tracks(overlaps: Overlaps, tracked: PanopticFrame) -> Overlaps:
    """Replace the ids and classes of segments by a tracker's.

    Segments with the same class and id become one.
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


def track(
    clip: Clip, config: TrackerConfig, step: int, odometry: bool = False
) -> Iterator[Overlaps]:
    """Yield the overlaps of a clip's tracks.

    Args:
        clip: the clip.
        config: the tracker's settings.
        step: the tracker sees every `step`-th frame.
        odometry: whether it knows the positions of segments and the pose of the camera.
    """
    tracker = Tracker(config)
    seen = (values[::step] for values in (clip.frames, clip.images, clip.views, clip.overlaps))
    for frame, pixels, view, overlaps in zip(*seen, strict=True):
        tracked = tracker.update(frame, CameraImage(pixels, 'mono'), view if odometry else None)
        if odometry:
            tracker.locate(tracked, view)
        yield with_tracks(overlaps, tracked)


def with_gt_ids(clip: Clip, step: int) -> Iterator[Overlaps]:
    """Yield the overlaps of a clip whose segments have ground truth ids: a tracker's upper bound.

    Each segment has the id of the thing with the largest IoU, or one of its own if no thing
    reaches `MIN_GT_IOU`.
    """
    for frame, overlaps in zip(clip.frames[::step], clip.overlaps[::step], strict=True):
        rows = frame.segments.copy()
        rows['track_id'] = FIRST_UNMATCHED_ID + rows['segment_id']
        things = np.flatnonzero(track_of(overlaps.gt_ids))
        if len(things):
            iou = overlaps.iou[things]  # (things, segments)
            ids = np.where(
                iou.max(axis=0) >= MIN_GT_IOU,
                track_of(overlaps.gt_ids[things])[iou.argmax(axis=0)],
                0,
            )
            by_segment = dict(zip(track_of(overlaps.pred_ids).tolist(), ids.tolist(), strict=True))
            for row in rows:
                row['track_id'] = by_segment.get(int(row['segment_id']), 0) or row['track_id']
        yield with_tracks(overlaps, replace(frame, segments=rows))


def score(
    clip: Clip, labels: LabelSet, config: TrackerConfig | None, step: int, odometry: bool = False
) -> VideoScores:
    """Score a clip for a tracker, see `track`; without a config, for ground truth ids."""
    scores = VideoScores(labels)
    for overlaps in track(clip, config, step, odometry) if config else with_gt_ids(clip, step):
        scores.update(overlaps)
    scores.end_clip()
    return scores


def summary(parts: Iterable[VideoScores], labels: LabelSet) -> dict[str, Any]:
    """Return the joint scores of several clips, see `VideoResult.summary`."""
    scores = VideoScores(labels)
    for part in parts:
        scores.merge(part)
    return scores.compute().summary()


def things_per_frame(clip: Clip) -> float:
    """Return the mean number of ground truth tracks in a frame."""
    return float(np.mean([np.count_nonzero(track_of(o.gt_ids)) for o in clip.overlaps]))
