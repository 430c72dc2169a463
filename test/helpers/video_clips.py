# SPDX-License-Identifier: Apache-2.0
"""Small clips for the tests of video metrics: ground truth and a prediction with all errors."""

import numpy as np

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_ros.metrics.video_frame import measure_frame

LABELS = LabelSet(
    (
        Label('car', True, (0, 0, 142), 26),
        Label('road', False, (128, 64, 128), 7),
        Label('person', True, (220, 20, 60), 24),
        Label('sky', False, (70, 130, 180), 23),
    )
)
CAR, ROAD, PERSON, SKY = range(4)
THINGS = (CAR, PERSON)


def frame(*runs):
    """Return a class map and a track map of one row from (class, track, pixels)."""
    return tuple(
        np.concatenate([np.full(n, value) for value, n in parts])[None]
        for parts in ([(c, n) for c, _, n in runs], [(t, n) for _, t, n in runs])
    )


def random_clip(seed, frames=None):
    """Return frames (gt class, gt track, pred class, pred track), 16 x 24, of moving rectangles.

    The prediction has shifted, missed, added, swapped and misclassified rectangles and new track
    ids; different classes use the same ids; the truth has crowds and void, the prediction void.
    """
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 8)) if frames is None else frames
    objects = [
        {
            'class': int(rng.choice(THINGS)),
            'track': i % 3 + 1 if rng.random() < 0.85 else 0,
            'pred': int(rng.integers(0, 5)),
            'y': int(rng.integers(0, 13)),
            'x': int(rng.integers(0, 20)),
            'v': int(rng.integers(-1, 3)),
            'h': int(rng.integers(4, 12)),
            'w': int(rng.integers(4, 12)),
        }
        for i in range(5)
    ]
    clip = []
    for t in range(length):
        gt_class, gt_track = np.full((16, 24), SKY), np.zeros((16, 24), np.int64)
        gt_class[8:] = ROAD
        gt_track[8:] = 7  # track ids of stuff are ignored
        pred_class, pred_track = gt_class.copy(), np.zeros_like(gt_track)
        pred_class[7] = ROAD
        for thing in objects:
            if rng.random() < 0.15:  # hidden
                continue
            y, x = thing['y'], thing['x'] + t * thing['v']
            true = np.s_[y : y + thing['h'], max(x, 0) : x + thing['w']]
            gt_class[true], gt_track[true] = thing['class'], thing['track']
            if rng.random() < 0.15:  # a new track id
                thing['pred'] = int(rng.integers(0, 5))
            dy, dx = rng.integers(0, 3, 2)
            predicted = np.s_[y + dy : y + thing['h'], max(x + dx, 0) : x + thing['w']]
            if rng.random() < 0.9:
                pred_class[predicted] = (
                    thing['class'] if rng.random() < 0.9 else rng.choice(THINGS)
                )
                pred_track[predicted] = thing['pred']
        for a_map, chance in ((gt_class, 0.7), (pred_class, 0.3)):
            if rng.random() < chance:
                y, x = rng.integers(0, [12, 16])
                a_map[y : y + 8, x : x + 8] = VOID_ID
        if rng.random() < 0.3:
            y, x = rng.integers(0, [12, 20])
            pred_class[y : y + 4, x : x + 4], pred_track[y : y + 4, x : x + 4] = (
                rng.choice(THINGS),
                9,
            )
        clip.append(
            (gt_class.astype(np.uint8), gt_track, pred_class, pred_track.astype(np.uint32))
        )
    return clip


def segments(class_map, track_map):
    """Return masks by (class, track); the track is 0 for stuff."""
    track_map = np.where(np.isin(class_map, THINGS), track_map, 0)
    keys = {(int(c), int(t)) for c, t in zip(class_map.ravel(), track_map.ravel(), strict=True)}
    return {
        key: (class_map == key[0]) & (track_map == key[1])
        for key in sorted(keys)
        if key[0] != VOID_ID
    }


def is_crowd(key):
    return key[0] in THINGS and key[1] == 0


def score(metric, *clips):
    """Update a metric with clips of maps, and return it."""
    for clip in clips:
        for maps in clip:
            metric.update(measure_frame(*maps, LABELS))
        metric.end_clip()
    return metric
