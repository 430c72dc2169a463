# SPDX-License-Identifier: Apache-2.0
"""Comparison of recorded clips with and without the vote for stuff."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import measure_frame
from panoptic_ros.tracking import StuffVote, Tracker, TrackerConfig
from panoptic_ros.tracking.camera_motion import STANDING

from .recorded import RecordedClip

STRIDE = 2
"""Stride of the rows and columns that are counted."""

VOTES: Mapping[str, tuple[bool, bool]] = {
    'off': (False, False),
    'on': (True, False),
    'on, with camera motion': (True, True),
}
"""Whether stuff is voted for, and whether the camera's motion is measured, by name."""


class StuffScores(NamedTuple):
    """Scores of clips."""

    video: VideoScores

    flickering: int
    """Number of flickering pixels, see `flicker`."""

    pixels: int
    """Number of pixels that might flicker."""


def flicker(
    gt: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    pred: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    labels: LabelSet,
) -> tuple[int, int]:
    """Count the pixels of stuff whose predicted class changes although the true one does not.

    Args:
        gt: (H, W) class ids of the ground truth in two consecutive images.
        pred: (H, W) predicted class ids in both.
        labels: the classes.

    Returns:
        Their number, and that of all pixels with the same true class of stuff in both images.
    """
    is_stuff = np.isin(gt[1], np.flatnonzero(~labels.is_thing))
    is_steady = is_stuff & (gt[0] == gt[1])
    return int((is_steady & (pred[0] != pred[1])).sum()), int(is_steady.sum())


def score_stuff(
    clip: RecordedClip, labels: LabelSet, vote: bool, camera_motion: bool, step: int
) -> StuffScores:
    """Score every `step`-th frame of a clip, tracked, with or without the vote for stuff."""
    tracker = Tracker(TrackerConfig(camera_motion=camera_motion))
    stuff_vote = StuffVote() if vote else None
    scores, flickering, pixels, last = VideoScores(labels), 0, 0, None
    seen = (v[::step] for v in (clip.frames, clip.images, clip.class_maps, clip.track_maps))
    for frame, image, class_map, track_map in zip(*seen, strict=True):
        frame = tracker.update(frame, CameraImage(image, 'mono'))
        if stuff_vote is not None:
            frame = stuff_vote.update(frame, tracker.motion if camera_motion else STANDING)
        tracks = frame.paint(frame.segments['track_id'].astype(np.int64), 0)
        gt, gt_tracks, pred, pred_tracks = (
            values[::STRIDE, ::STRIDE]
            for values in (
                class_map,
                track_map,
                *(frame.geometry.to_camera(cells) for cells in (frame.semantic_map, tracks)),
            )
        )
        scores.update(measure_frame(gt, gt_tracks, pred, pred_tracks, labels))
        if last is not None:
            changed, count = flicker((last[0], gt), (last[1], pred), labels)
            flickering, pixels = flickering + changed, pixels + count
        last = gt, pred
    scores.end_clip()
    return StuffScores(scores, flickering, pixels)


def stuff_summary(parts: Iterable[StuffScores], labels: LabelSet) -> dict[str, float]:
    """Return STQ and SQ of several clips, and the share of flickering pixels, all in percent."""
    video, flickering, pixels = VideoScores(labels), 0, 0
    for part in parts:
        video.merge(part.video)
        flickering, pixels = flickering + part.flickering, pixels + part.pixels
    scores = video.compute().summary()
    return {
        'stq': scores['stq'],
        'sq': scores['sq'],
        'flicker': 100 * flickering / pixels if pixels else float('nan'),
    }
