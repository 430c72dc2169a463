# SPDX-License-Identifier: Apache-2.0
"""Pairs of segmentations for the metrics' tests: ground truth and a nearly correct prediction."""

import numpy as np

from panoptic_ros.core.labels import Label, LabelSet

LABELS = LabelSet(
    (
        Label('car', True, (0, 0, 142), 26),
        Label('person', True, (220, 20, 60), 24),
        Label('road', False, (128, 64, 128), 7),
        Label('sky', False, (70, 130, 180), 23),
    )
)
CAR, PERSON, ROAD, SKY = range(4)


def random_image(seed):
    """Return maps of large random rectangles; the prediction is the truth with changes.

    Returns:
        The arguments of `pair_segments` after the labels.
    """
    rng = np.random.default_rng(seed)
    ids = rng.choice(2**24 - 1, 8, replace=False) + 1
    gt_map = np.zeros((16, 24), np.int64)
    pred_map = gt_map.copy()
    for i in range(8):
        y, x, h, w = rng.integers([0, 0, 4, 4], [14, 20, 14, 16])
        gt_map[y : y + h, x : x + w] = ids[i] if i else 0
        dy, dx = rng.integers(-1, 2, 2)
        if rng.random() < 0.9:
            pred_map[max(0, y + dy) : y + h, max(0, x + dx) : x + w] = i * (rng.random() < 0.95)
    gt_segments = {int(i): int(rng.integers(4)) for i in np.unique(gt_map[gt_map > 0])}
    pred_segments = {}
    for p in np.unique(pred_map[pred_map > 0]).tolist():
        same = gt_segments.get(int(ids[p]), 0)
        pred_segments[p] = same if rng.random() < 0.8 else int(rng.integers(4))
    crowd = frozenset(i for i in gt_segments if rng.random() < 0.2)
    return gt_map, gt_segments, pred_map.astype(np.uint16), pred_segments, crowd


def strip(*runs):
    """Return a map of one row from (id, pixels) pairs."""
    return np.concatenate([np.full(n, i) for i, n in runs])[None]
