"""Which thing of an image is which track: confident ones first, then weak ones, then by looks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.distance import Floats, box_iou, mask_iou
from panoptic_ros.tracking.tracks import Tracks, class_distance, embedding_distance, predict

NEAR_CELLS = 2
"""Boxes are grown by this on each side, as the edges of the smallest things jump by whole cells;
not where `near_factor` is 1."""

Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Places of tracks and of things, (P,) each."""


def associate(tracks: Tracks, found: Tracks, last: PanopticFrame, frame: PanopticFrame,
              config: TrackerConfig) -> Pairs:
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
    other = config.class_cost * class_distance(tracks, found)
    if config.class_cost >= 1:
        other[other > 0] = np.inf
    cost = other + weighted_mean(looks, overlap(tracks, expected, found, last, frame, config),
                                 config)
    free = np.ones(len(tracks), bool), np.ones(len(found), bool)
    confident = found['score'] >= config.high_score
    pairs = [_round(cost, config.gate, free, confident),
             _round(cost, config.weak_gate, free, ~confident)]
    if config.reid_gate and config.embedding_weight:
        cost = np.where(_in_reach(tracks, expected, found, config.reid_reach), looks + other,
                        np.inf)
        pairs.append(_round(np.nan_to_num(cost, nan=np.inf), config.reid_gate, free, confident))
    old, new = (np.concatenate(places) for places in zip(*pairs, strict=True))
    return old, new


def weighted_mean(looks: Floats, common: Floats, config: TrackerConfig) -> Floats:
    """(N, M) mean of both distances; inf where there is too little overlap, or nothing is known.

    Args:
        looks: (N, M) distance of embeddings, NaN where not known: overlap then is all.
        common: (N, M) overlap.
        config: the tracker's.
    """
    weight = np.where(np.isnan(looks), 0, config.embedding_weight)
    total = weight + config.iou_weight
    cost = weight * np.nan_to_num(looks) + config.iou_weight * (1 - common)
    cost = np.divide(cost, total, out=np.full_like(cost, np.inf), where=total > 0)
    if config.iou_weight:
        cost[common < config.min_overlap] = np.inf
    return cost


def overlap(tracks: Tracks, expected: Floats, found: Tracks, last: PanopticFrame,
            frame: PanopticFrame, config: TrackerConfig) -> Floats:
    """(N, M) the better of the overlaps of mask and of enlarged box, 0 to 1."""
    cell_xy = np.array(frame.geometry.px_per_cell)[::-1]
    factor, margin = np.ones(len(tracks)), 0 * cell_xy
    if config.near_factor > 1:
        unseen_s = frame.stamp_s - tracks['seen_s']
        factor, margin = config.near_factor + config.near_growth * unseen_s, NEAR_CELLS * cell_xy
    near = np.empty((len(tracks), len(found)))
    near = box_iou(*(_corners(boxes, f, margin) for boxes, f in (
        (expected, factor[:, None]), (found['box'], max(1.0, config.near_factor)))))
    if last.geometry != frame.geometry:
        return near
    masks = mask_iou(last.segment_map, tracks['segment_id'],
                     (expected - tracks['box'])[:, :2] / cell_xy, frame.segment_map,
                     found['segment_id'])
    return np.maximum(masks, near)


def _corners(boxes: Floats, factor: Floats | float, margin: Floats) -> Floats:
    """x1, y1, x2, y2 of boxes x, y, w, h, all (N, 4), with their sides made longer."""
    half = boxes[:, 2:] / 2 * factor + margin
    return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])


def _in_reach(tracks: Tracks, expected: Floats, found: Tracks, reach: float,
              ) -> npt.NDArray[np.bool_]:
    """(N, M) whether a thing can have come so far from where the track was expected."""
    away = np.linalg.norm(expected[:, None, :2] - found['box'][:, :2], axis=2)
    size = np.sqrt(np.maximum(found['box'][:, 2:].prod(axis=1),
                              tracks['box'][:, 2:].prod(axis=1)[:, None]))
    unseen_s = (found['seen_s'] - tracks['seen_s'][:, None])
    return away <= size * reach * unseen_s


def _round(cost: Floats, gate: float, free: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
           things: npt.NDArray[np.bool_]) -> Pairs:
    """Pairs of what is free, tracks and things, which then is free no more."""
    rows, columns = np.flatnonzero(free[0]), np.flatnonzero(free[1] & things)
    part = cost[np.ix_(rows, columns)]
    # A cost at the gate for all that is beyond it: no good pair is given up for two bad ones.
    old, new = linear_sum_assignment(np.minimum(part, gate))
    close = part[old, new] < gate
    rows, columns = rows[old[close]], columns[new[close]]
    free[0][rows] = free[1][columns] = False
    return rows, columns
