"""How long the video metrics take for a frame, on a made-up street."""

from __future__ import annotations

import time

import numpy as np

from panoptic_ros.labels import Label, LabelSet
from panoptic_ros.metrics.video import VideoScores

STUFF, THINGS = 11, 8
"""Numbers of classes, as in Cityscapes."""


def time_update(size: tuple[int, int] = (1024, 2048), frames: int = 10, things: int = 40) -> float:
    """Milliseconds that `VideoScores.update` takes for one frame, on average.

    Args:
        size: (height, width), px.
        frames: how many to measure.
        things: discs in each frame; the prediction is the truth a few pixels aside.
    """
    height, width = size
    rng = np.random.default_rng(0)
    labels = LabelSet(tuple(Label(f'class {i}', i >= STUFF, (i, i, i), i)
                            for i in range(STUFF + THINGS)))
    class_map = np.repeat((np.arange(width) * STUFF // width)[None], height, axis=0)
    class_map = class_map.astype(np.uint8)
    track_map = np.zeros(size, np.int32)
    y, x = np.ogrid[:height, :width]
    for track in range(1, things + 1):
        disc = np.hypot(y - rng.integers(height), x - rng.integers(width)) < height / 16
        class_map[disc], track_map[disc] = STUFF + track % THINGS, track
    moved = np.roll(class_map, 4, axis=1), np.roll(track_map, 4, axis=1)
    scores = VideoScores(labels)
    scores.update(class_map, track_map, *moved)
    start = time.perf_counter()
    for _ in range(frames):
        scores.update(class_map, track_map, *moved)
    return 1000 * (time.perf_counter() - start) / frames
