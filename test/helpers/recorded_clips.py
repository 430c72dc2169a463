# SPDX-License-Identifier: Apache-2.0
"""Recorded clips of hand-made frames."""

from collections.abc import Sequence

import numpy as np
from disc_frames import BLUE, RED, Disc, make_frame

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.tracking import View
from panoptic_training.tracking.recorded import RecordedClip

LABELS = LabelSet(
    (
        Label('road', False, (0, 0, 0), 0),
        Label('car', True, (0, 0, 9), 1),
        Label('person', True, (9, 0, 0), 2),
    )
)
CAR, PERSON = 1, 2


def clip_of(
    frames: Sequence[PanopticFrame], gt: Sequence[PanopticFrame] | None = None
) -> RecordedClip:
    """Return a clip whose ground truth tracks are the discs of `gt`, by default of `frames`."""
    gt = gt or frames
    class_maps = np.stack([np.where(f.segment_map > 0, f.semantic_map, 0) for f in gt])
    return RecordedClip(
        frames,
        class_maps.astype(np.uint8),
        np.stack([f.segment_map for f in gt]).astype(np.int32),
        np.zeros(class_maps.shape, np.uint8),
        [View(np.eye(4), lambda points: points[:2])] * len(frames),
    )


def car(x: float, **kwargs: float | tuple[float, ...]) -> Disc:
    """Return a disc of the class car."""
    return Disc(x, class_id=CAR, **kwargs)


MOVING = [
    make_frame(t / 20, car(20 + t, embedding=RED), car(150, embedding=BLUE)) for t in range(8)
]
"""Frames with two cars, of which one moves to the right by 1 px per frame."""
