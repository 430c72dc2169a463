# SPDX-License-Identifier: Apache-2.0
"""Scores of random clips."""

import numpy as np
from tiny_model import LABELS

from panoptic_ros.core.label_frame import frame_of_labels
from panoptic_ros.replay.ground_truth_classes import GroundTruthMaps
from panoptic_ros.replay.scores import ReplayScores

SIZE = (64, 128)
FLOOR, WALL, BALL, BOX = range(4)


def random_maps(random) -> GroundTruthMaps:
    """Return 8 x 16 blocks of random classes, things with tracks 0 to 3; 0 is a crowd."""
    classes = random.choice([FLOOR, WALL, BALL, BOX, 255], (8, 16), p=[0.3, 0.2, 0.25, 0.2, 0.05])
    track = np.where(np.isin(classes, (BALL, BOX)), random.integers(0, 4, classes.shape), 0)
    grow = np.ones((SIZE[0] // 8, SIZE[1] // 16), int)
    return GroundTruthMaps(
        np.kron(classes, grow).astype(np.uint8), np.kron(track, grow).astype(np.int64)
    )


def random_clip(
    scores: ReplayScores, seed: int, frames: int = 7, wrong: float = 0.1
) -> ReplayScores:
    """Add a clip whose predictions are the ground truth with a share of random pixels."""
    random = np.random.default_rng(seed)
    for _ in range(frames):
        gt, noise = random_maps(random), random_maps(random)
        mixed = random.random(SIZE) < wrong
        class_map = np.where(mixed, noise.class_map, gt.class_map)
        track = np.where(mixed, noise.track_map + 1, gt.track_map + random.integers(1, 3))
        track = np.where(np.isin(class_map, (BALL, BOX)), track, 0)
        frame = frame_of_labels(class_map, track, LABELS, tracks=True)
        scores.update(gt, frame)
    scores.video.end_clip()
    return scores
