# SPDX-License-Identifier: Apache-2.0
"""Scores of replayed frames against the ground truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from panoptic_ros.core.frame import PanopticFrame, without_unknown
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.image_pair import pair_segments
from panoptic_ros.metrics.scores import ImageScores
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import measure_frame
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.ground_truth_classes import GroundTruthMaps

SEGMENT_STEP = 2**32
"""The id of a ground truth segment is `class_id * SEGMENT_STEP + track_id + 1`, 0 for void."""


class ReplayScores:
    """Image and video metrics of a camera's frames, in order; of several cameras after `merge`."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.images = ImageScores(labels)
        self.video = VideoScores(labels)

    @property
    def frames(self) -> int:
        """Number of frames that were added."""
        return self.images.images

    def update(self, gt: GroundTruthMaps, frame: PanopticFrame | None) -> ImageScores:
        """Add a frame.

        Args:
            gt: ground truth of the image.
            frame: the prediction, in which unknown segments are void; None counts every ground
                truth segment as missed.

        Returns:
            The metrics of this frame.

        Raises:
            ValueError: if the sizes differ.
        """
        class_map, track_map = gt
        if frame is None:
            empty = np.zeros(class_map.shape, np.int64)
            segment_map, track, semantic, segments = empty, empty, empty + VOID_ID, {}
        else:
            frame = without_unknown(frame)
            to_camera, rows = frame.geometry.to_camera, frame.segments
            if frame.geometry.image_size != class_map.shape:
                raise ValueError(
                    "the ground truth must have the image's (height, width) "
                    f'{frame.geometry.image_size}, got {class_map.shape}'
                )
            segment_map = to_camera(frame.segment_map)
            track = to_camera(frame.paint(rows['track_id'].astype(np.int64), 0))
            semantic = to_camera(frame.semantic_map)
            segments = frame.class_of_segment
        gt_map = np.where(
            class_map == VOID_ID, 0, class_map.astype(np.int64) * SEGMENT_STEP + track_map + 1
        )
        gt_segments = {int(i): int(i) // SEGMENT_STEP for i in np.unique(gt_map) if i}
        crowd = [
            i
            for i, class_id in gt_segments.items()
            if self.labels.is_thing[class_id] and i % SEGMENT_STEP == 1
        ]
        single = ImageScores(self.labels)
        single.update(
            pair_segments(self.labels, gt_map, gt_segments, segment_map, segments, crowd)
        )
        self.images.merge(single)
        self.video.update(measure_frame(class_map, track_map, semantic, track, self.labels))
        return single

    def merge(self, other: 'ReplayScores') -> None:
        """Add another camera's frames; the clips of both end."""
        self.video.end_clip()
        other.video.end_clip()
        self.images.merge(other.images)
        self.video.merge(other.video)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in percent; NaN becomes None."""
        return {
            'frames': self.frames,
            'panoptic': self.images.panoptic.compute().to_dict(),
            'semantic': self.images.semantic.compute().to_dict(),
            'video': self.video.compute().to_dict(),
        }


def score_frame(
    record: FrameRecord, scores: ReplayScores, gt: GroundTruthMaps, frame: PanopticFrame | None
) -> None:
    """Add a frame to the scores, and its own scores to its record."""
    single = scores.update(gt, frame)
    panoptic, semantic = single.panoptic, single.semantic
    record.quality = {}
    for i in panoptic.counts.sum(axis=0).nonzero()[0].tolist():
        tp, fp, fn = panoptic.counts[:, i].tolist()
        record.quality[i] = float(panoptic.iou_sum[i]), tp, fp, fn
    both = semantic.confusion[:, 1:].diagonal()
    union = semantic.confusion.sum(axis=1) + semantic.confusion[:, 1:].sum(axis=0) - both
    record.overlap = {i: (int(both[i]), int(union[i])) for i in union.nonzero()[0].tolist()}
    quality = panoptic.compute().all
    record.pq = quality.pq if quality.n else None


def merge_scores(
    records: Sequence[FrameRecord], scores: Mapping[str, ReplayScores]
) -> ReplayScores | None:
    """Merge the scores of all cameras, and add the id switches to the records of their frames.

    Args:
        records: of all images.
        scores: by camera.

    Returns:
        None if no image was scored.
    """
    total: ReplayScores | None = None
    for name, camera_scores in scores.items():
        if not camera_scores.frames:
            continue
        camera_scores.video.end_clip()
        scored = [
            record for record in records if record.camera == name and record.quality is not None
        ]
        for switch in camera_scores.video.compute().switches:
            scored[switch.frame_index].switches += (switch.to_dict(),)
        total = total or ReplayScores(camera_scores.labels)
        total.merge(camera_scores)
    return total
