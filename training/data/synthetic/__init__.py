# SPDX-License-Identifier: Apache-2.0
"""Synthetic city: procedural street videos with exact labels, tracks and depth.

clip = SyntheticClip(seed=7, size=(256, 512), fps=20)
frame = clip.frame(123)  # depends on seed and frame number only
frame.image, frame.class_map, frame.track_map, frame.depth, frame.panoptic_map()
"""

from .clip import SyntheticClip, SyntheticFrame
from .labels import LABELS, SPLITS, TEST_SEEDS, TRAIN_SEEDS, VAL_SEEDS, split_of

__all__ = [
    'LABELS',
    'SPLITS',
    'TEST_SEEDS',
    'TRAIN_SEEDS',
    'VAL_SEEDS',
    'SyntheticClip',
    'SyntheticFrame',
    'split_of',
]
