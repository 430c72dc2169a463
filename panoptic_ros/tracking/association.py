# SPDX-License-Identifier: Apache-2.0
"""Association of segments with tracks in three passes: high score, low score, appearance only."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.tracking.config import TrackerConfig
from panoptic_ros.tracking.distance import Floats, box_iou, mask_iou
from panoptic_ros.tracking.tracks import (
    Tracks,
    class_distance,
    embedding_distance,
    has_embedding,
    predict,
)

BOX_MARGIN_CELLS = 2
"""Cells added to each side of an expanded box, because the edges of the smallest things jump by
whole cells."""

Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Indices of tracks and of detections that match, (P,) each."""


def associate(
    tracks: Tracks,
    detections: Tracks,
    last: PanopticFrame,
    frame: PanopticFrame,
    config: TrackerConfig,
    camera_shift: Floats,
) -> Pairs:
    """Match tracks and detections one to one.

    The cost of a match is the weighted mean of the distances by embedding and by overlap, plus
    the class cost. Each pass minimises the total cost of its pairs below a threshold:

    1. All tracks, and the detections of high score.
    2. The remaining tracks, and the detections of low score.
    3. The remaining tracks, and the remaining detections of high score, by embedding and class
       only, if the detection is within reach of the track's expected place.

    Args:
        tracks: (N,) all tracks as of the last frame, moved with the camera since then.
        detections: (M,) the frame's things.
        last: the last frame, with the same image size; its map has the tracks' segment ids.
        frame: the frame.
        config: the tracker's settings.
        camera_shift: (N, 2) that move of the tracks (x, y), camera px.
    """
    expected = predict(tracks, frame.stamp_s)
    appearance = embedding_distance(tracks, detections, config.spread_factor)
    class_cost = class_distance(tracks, detections)
    if config.class_cost >= 1:
        class_cost[class_cost > 0] = np.inf
    else:
        class_cost *= config.class_cost
    known = has_embedding(tracks), has_embedding(detections)
    overlap = overlap_of(tracks, expected, detections, last, frame, config, camera_shift)
    cost = weighted_mean(appearance, overlap, known, config)
    cost += class_cost

    is_high = detections['score'] >= config.high_score_threshold
    high, low = np.flatnonzero(is_high), np.flatnonzero(~is_high)
    remaining = np.arange(len(tracks))
    passes = [_match(cost[:, high], remaining, high, config.match_threshold)]
    remaining = _without(remaining, passes[0][0])
    passes.append(
        _match(cost[np.ix_(remaining, low)], remaining, low, config.low_score_match_threshold)
    )
    if config.reid_gate and config.embedding_weight:
        remaining, high = _without(remaining, passes[1][0]), _without(high, passes[0][1])
        remaining, high = remaining[known[0][remaining]], high[known[1][high]]
        place = np.ix_(remaining, high)
        cost = appearance[place] + class_cost[place]
        is_reachable = _is_reachable(
            tracks.take(remaining),
            expected[remaining],
            detections.take(high),
            config.reid_max_speed,
        )
        cost[~is_reachable] = np.inf
        passes.append(_match(cost, remaining, high, config.reid_gate))
    old, new = (np.concatenate(indices) for indices in zip(*passes, strict=True))
    return old, new


def weighted_mean(
    appearance: Floats,
    overlap: Floats,
    known: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    config: TrackerConfig,
) -> Floats:
    """Compute the weighted mean of the distances by embedding and by overlap, (N, M).

    It is the distance by overlap where an embedding is not known, and inf where the overlap is
    too small or where neither distance counts.

    Args:
        appearance: (N, M) distance of embeddings, 0 to 1.
        overlap: (N, M), 0 to 1.
        known: which tracks, (N,), and which detections, (M,), have an embedding.
        config: the tracker's settings.
    """
    total = config.embedding_weight + config.iou_weight
    missing = 1 - overlap
    cost = appearance * (config.embedding_weight / total)
    cost += missing * (config.iou_weight / total)
    by_overlap = missing if config.iou_weight else np.full_like(missing, np.inf)
    np.copyto(cost, by_overlap, where=~(known[0][:, None] & known[1]))
    if config.iou_weight:
        cost[overlap < config.min_overlap] = np.inf
    return cost


def overlap_of(
    tracks: Tracks,
    expected: Floats,
    detections: Tracks,
    last: PanopticFrame,
    frame: PanopticFrame,
    config: TrackerConfig,
    camera_shift: Floats,
) -> Floats:
    """Compute the IoU of masks or of expanded boxes, whichever is larger, (N, M).

    Args:
        tracks: (N,) tracks.
        expected: (N, 4) their expected boxes: centre x, centre y, width and height, camera px.
        detections: (M,) the frame's things.
        last: the last frame.
        frame: the frame; masks are compared if it has the last one's geometry.
        config: the tracker's settings.
        camera_shift: (N, 2) move of the tracks with the camera since the last frame, camera px.
    """
    cell_xy = np.array(frame.geometry.px_per_cell)[::-1]
    factor, margin = np.ones(len(tracks)), 0 * cell_xy
    if config.box_expansion > 1:
        unseen_s = frame.stamp_s - tracks['seen_s']
        factor = config.box_expansion + config.box_expansion_rate * unseen_s
        margin = BOX_MARGIN_CELLS * cell_xy
    boxes = box_iou(
        _expanded(expected, factor[:, None], margin),
        _expanded(detections['box'], max(1.0, config.box_expansion), margin),
    )
    if last.geometry != frame.geometry:
        return boxes
    masks = mask_iou(
        last.segment_map,
        tracks['segment_id'],
        ((expected - tracks['box'])[:, :2] + camera_shift) / cell_xy,
        frame.segment_map,
        detections['segment_id'],
    )
    return np.maximum(masks, boxes, out=boxes)


def _expanded(boxes: Floats, factor: Floats | float, margin: Floats) -> Floats:
    """Return the corners x1, y1, x2, y2 of boxes with longer sides, (N, 4).

    Args:
        boxes: (N, 4) centre x, centre y, width and height.
        factor: of the sides, for each box or for all of them.
        margin: (x, y) added on each side.
    """
    half = boxes[:, 2:] / 2 * factor + margin
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _is_reachable(
    tracks: Tracks, expected: Floats, detections: Tracks, max_speed: float
) -> npt.NDArray[np.bool_]:
    """Return which detections a track can have reached from its expected place, (N, M).

    The distance may be `max_speed` times the thing's size for each second since the track was
    last seen. The size is the root of the area of the larger box.
    """
    (x, y), (new_x, new_y) = expected.T[:2], detections['box'].T[:2]
    area, new_area = (box[:, 2] * box[:, 3] for box in (tracks['box'], detections['box']))
    size = np.sqrt(np.maximum(area[:, None], new_area))
    unseen_s = detections['seen_s'] - tracks['seen_s'][:, None]
    return np.hypot(x[:, None] - new_x, y[:, None] - new_y) <= size * max_speed * unseen_s


def _match(
    cost: Floats, tracks: npt.NDArray[np.intp], detections: npt.NDArray[np.intp], threshold: float
) -> Pairs:
    """Return the one-to-one pairs of least total cost, each below a threshold.

    Args:
        cost: (n, m) of these tracks and detections.
        tracks: (n,) indices.
        detections: (m,) indices.
        threshold: exclusive upper bound of a pair's cost.
    """
    if not cost.size:
        return tracks[:0], detections[:0]
    # Costs above the threshold count as the threshold, so that no good pair is given up for two
    # bad ones.
    i, j = linear_sum_assignment(np.minimum(cost, threshold))
    is_good = cost[i, j] < threshold
    return tracks[i[is_good]], detections[j[is_good]]


def _without(indices: npt.NDArray[np.intp], matched: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the indices that are not matched, in their order."""
    # np.isin takes five times as long for few indices.
    is_left = np.ones(int(indices.max(initial=0)) + 1, bool)
    is_left[matched] = False
    return indices[is_left[indices]]
