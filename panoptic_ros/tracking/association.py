# SPDX-License-Identifier: Apache-2.0
"""Which thing of an image is which track: confident ones first, then weak ones, then by looks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.distance import Floats, box_iou, mask_iou
from panoptic_ros.tracking.tracks import Tracks, class_distance, embedding_distance, known, predict

NEAR_CELLS = 2
"""Boxes are grown by this on each side, as the edges of the smallest things jump by whole cells;
not where `box_expansion` is 1."""

Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Places of tracks and of things, (P,) each."""


def associate(
    tracks: Tracks, found: Tracks, last: PanopticFrame, frame: PanopticFrame, config: TrackerConfig
) -> Pairs:
    """Pairs of track and thing.

    Args:
        tracks: (N,) all that are alive.
        found: (M,) the frame's things.
        last: the frame before, at the same image size; its map has the tracks' segment ids.
        frame: the frame.
        config: the tracker's.
    """
    expected = predict(tracks, frame.stamp_s)
    looks = embedding_distance(tracks, found, config.spread_factor)
    unknown = ~known(tracks), ~known(found)
    other = class_distance(tracks, found)
    if config.class_cost >= 1:
        other[other > 0] = np.inf
    else:
        other *= config.class_cost
    cost = weighted_mean(
        looks, unknown, overlap(tracks, expected, found, last, frame, config), config
    )
    cost += other
    free = np.ones(len(tracks), bool), np.ones(len(found), bool)
    confident = found['score'] >= config.high_score_threshold
    pairs = [
        _round(cost, config.match_threshold, free, confident),
        _round(cost, config.low_score_match_threshold, free, ~confident),
    ]
    if config.reid_gate and config.embedding_weight:
        old, new = (
            np.flatnonzero(free[0] & ~unknown[0]),
            np.flatnonzero(free[1] & ~unknown[1] & confident),
        )
        cost = (looks + other)[np.ix_(old, new)]
        cost[~_in_reach(tracks[old], expected[old], found[new], config.reid_max_speed)] = np.inf
        i, j = _pair(cost, config.reid_gate)
        pairs.append((old[i], new[j]))
    old, new = (np.concatenate(places) for places in zip(*pairs, strict=True))
    return old, new


def weighted_mean(
    looks: Floats,
    unknown: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    common: Floats,
    config: TrackerConfig,
) -> Floats:
    """(N, M) mean of both distances; inf where there is too little overlap, or nothing is known.

    Args:
        looks: (N, M) distance of embeddings.
        unknown: tracks, (N,), and things, (M,), without one: overlap then is all.
        common: (N, M) overlap.
        config: the tracker's.
    """
    total = config.embedding_weight + config.iou_weight
    missing = 1 - common
    cost = looks * (config.embedding_weight / total)
    cost += missing * (config.iou_weight / total)
    alone = missing if config.iou_weight else np.full_like(missing, np.inf)
    cost[unknown[0]] = alone[unknown[0]]
    cost[:, unknown[1]] = alone[:, unknown[1]]
    if config.iou_weight:
        cost[common < config.min_overlap] = np.inf
    return cost


def overlap(
    tracks: Tracks,
    expected: Floats,
    found: Tracks,
    last: PanopticFrame,
    frame: PanopticFrame,
    config: TrackerConfig,
) -> Floats:
    """(N, M) the better of the overlaps of mask and of enlarged box, 0 to 1."""
    cell_xy = np.array(frame.geometry.px_per_cell)[::-1]
    factor, margin = np.ones(len(tracks)), 0 * cell_xy
    if config.box_expansion > 1:
        unseen_s = frame.stamp_s - tracks['seen_s']
        factor, margin = (
            config.box_expansion + config.box_expansion_rate * unseen_s,
            NEAR_CELLS * cell_xy,
        )
    near = box_iou(
        *(
            _corners(boxes, f, margin)
            for boxes, f in (
                (expected, factor[:, None]),
                (found['box'], max(1.0, config.box_expansion)),
            )
        )
    )
    if last.geometry != frame.geometry:
        return near
    masks = mask_iou(
        last.segment_map,
        tracks['segment_id'],
        (expected - tracks['box'])[:, :2] / cell_xy,
        frame.segment_map,
        found['segment_id'],
    )
    return np.maximum(masks, near, out=near)


def _corners(boxes: Floats, factor: Floats | float, margin: Floats) -> Floats:
    """x1, y1, x2, y2 of boxes x, y, w, h, all (N, 4), with their sides made longer."""
    half = boxes[:, 2:] / 2 * factor + margin
    return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])


def _in_reach(
    tracks: Tracks, expected: Floats, found: Tracks, reach: float
) -> npt.NDArray[np.bool_]:
    """(N, M) whether a thing can have come so far from where the track was expected."""
    (x, y), (found_x, found_y) = expected.T[:2], found['box'].T[:2]
    size = np.sqrt(
        np.maximum(tracks['box'][:, 2:].prod(axis=1)[:, None], found['box'][:, 2:].prod(axis=1))
    )
    unseen_s = found['seen_s'] - tracks['seen_s'][:, None]
    return np.hypot(x[:, None] - found_x, y[:, None] - found_y) <= size * reach * unseen_s


def _round(
    cost: Floats,
    gate: float,
    free: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    things: npt.NDArray[np.bool_],
) -> Pairs:
    """Pairs of what is free, tracks and things, which then is free no more."""
    rows, columns = np.flatnonzero(free[0]), np.flatnonzero(free[1] & things)
    i, j = _pair(cost[np.ix_(rows, columns)], gate)
    free[0][rows[i]] = free[1][columns[j]] = False
    return rows[i], columns[j]


def _pair(cost: Floats, gate: float) -> Pairs:
    """The cheapest one-to-one pairs among those that cost less than the gate."""
    # A cost at the gate for all that is beyond it: no good pair is given up for two bad ones.
    old, new = linear_sum_assignment(np.minimum(cost, gate))
    close = cost[old, new] < gate
    return old[close], new[close]
