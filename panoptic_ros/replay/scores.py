# SPDX-License-Identifier: Apache-2.0
"""Scores of one camera's frames against the ground truth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.metrics import MeanIoU, PanopticQuality
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.replay.ground_truth import Truth

SEGMENT_STEP = 2**32
"""A true segment's id is `class_id * SEGMENT_STEP + track_id + 1`, 0 for void."""


class FrameScores(NamedTuple):
    """What falls apart into frames."""

    panoptic: PanopticQuality
    semantic: MeanIoU


class Scores:
    """Collects frames in order; `merge` adds another camera's."""

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.panoptic, self.semantic = PanopticQuality(labels), MeanIoU(labels)
        self.video = VideoScores(labels)
        self.frames = 0

    def update(self, truth: Truth, frame: PanopticFrame | None) -> FrameScores:
        """Adds a frame.

        Args:
            truth: what is there.
            frame: what was seen; None scores as nothing seen.

        Returns:
            Those of this frame alone.

        Raises:
            ValueError: if the sizes differ.
        """
        class_map, track_map = truth
        if frame is None:
            empty = np.zeros(class_map.shape, np.int64)
            segment_map, track, semantic, segments = empty, empty, empty + VOID_ID, {}
        else:
            to_camera, rows = frame.geometry.to_camera, frame.segments
            if frame.geometry.image_size != class_map.shape:
                raise ValueError(
                    "the ground truth must have the image's (height, width) "
                    f'{frame.geometry.image_size}, got {class_map.shape}'
                )
            segment_map = to_camera(frame.segment_map)
            track = to_camera(frame.paint(rows['track_id'].astype(np.int64), 0))
            semantic = to_camera(frame.semantic_map)
            segments = dict(
                zip(rows['segment_id'].tolist(), rows['class_id'].tolist(), strict=True)
            )
        true_map = np.where(
            class_map == VOID_ID, 0, class_map.astype(np.int64) * SEGMENT_STEP + track_map + 1
        )
        true_segments = {int(i): int(i) // SEGMENT_STEP for i in np.unique(true_map) if i}
        crowd = [
            i
            for i, class_id in true_segments.items()
            if self.labels.is_thing[class_id] and i % SEGMENT_STEP == 1
        ]
        alone = FrameScores(PanopticQuality(self.labels), MeanIoU(self.labels))
        alone.panoptic.update(true_map, true_segments, segment_map, segments, crowd)
        alone.semantic.update(class_map, semantic)
        self.panoptic.merge(alone.panoptic)
        self.semantic.merge(alone.semantic)
        self.video.update(class_map, track_map, semantic, track)
        self.frames += 1
        return alone

    def merge(self, other: Scores) -> None:
        """Adds another camera's frames; its clip ends."""
        self.video.end_clip()
        other.video.end_clip()
        self.panoptic.merge(other.panoptic)
        self.semantic.merge(other.semantic)
        self.video.merge(other.video)
        self.frames += other.frames

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, percent; None stands for NaN."""
        return {
            'frames': self.frames,
            'panoptic': self.panoptic.result().to_dict(),
            'semantic': self.semantic.result().to_dict(),
            'video': self.video.result().to_dict(),
        }
