# SPDX-License-Identifier: Apache-2.0
"""Distances between tracks and detections: of embeddings, masks and boxes."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

MAX_CELLS = 2**14
"""Most cells of a map when masks are compared; rows and columns of larger maps are skipped."""


def unit(vectors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Scale vectors, (N, D), to length 1; zero vectors stay, non-finite components count as 0."""
    vectors = np.asarray(vectors, np.float64)
    vectors = np.where(np.isfinite(vectors), vectors, 0)
    length = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def cosine_distance(a: Floats, b: Floats) -> Floats:
    """Compute the cosine distance of unit vectors, clipped to 0 to 1: at least a right angle is 1.

    Args:
        a: (N, D) unit vectors.
        b: (M, D) unit vectors.

    Returns:
        (N, M) float32.
    """
    distance = 1 - a.astype(np.float32) @ b.astype(np.float32).T
    return np.clip(distance, 0, 1, out=distance)


def mask_iou(
    old_map: npt.NDArray[np.uint16],
    old_ids: npt.NDArray[np.integer],
    shift: Floats,
    new_map: npt.NDArray[np.uint16],
    new_ids: npt.NDArray[np.integer],
) -> Floats:
    """Compute the IoU of old masks, each moved by its own shift, and new masks.

    Args:
        old_map: (h, w) segment ids, 0 = none.
        old_ids: (N,) segment ids of the old masks; 0 for a mask that the map does not have.
        shift: (N, 2) expected motion (x, y) of each old mask, cells.
        new_map: (h, w) segment ids, 0 = none.
        new_ids: (M,) segment ids of the new masks.

    Returns:
        (N, M) float32; cells that move out of the image are ignored.
    """
    step = math.ceil(math.sqrt(old_map.size / MAX_CELLS))
    old, new = (
        _places(m[::step, ::step], ids) for m, ids in ((old_map, old_ids), (new_map, new_ids))
    )
    height, width = old.shape
    cells = np.flatnonzero(old)
    place = old.ravel()[cells]
    y, x = np.divmod(cells.astype(np.int32), np.int32(width))
    moves = np.zeros((2, len(old_ids) + 1), np.int32)
    moves[:, 1:] = np.rint(shift.T / step)
    x += moves[0].take(place)
    y += moves[1].take(place)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place, hit = place[inside], new.ravel()[(y * width + x)[inside]]

    n, m = len(old_ids) + 1, len(new_ids) + 1
    both = np.bincount(place * m + hit, minlength=n * m).reshape(n, m).astype(np.float32)
    old_area, new_area = both.sum(axis=1), np.bincount(new.ravel(), minlength=m)
    return iou(both, old_area, new_area.astype(np.float32))[1:, 1:]


def iou(both: Floats, old_area: Floats, new_area: Floats) -> Floats:
    """Compute IoU, (N, M), from intersections and areas; it is 0 for two empty areas.

    Args:
        both: (N, M) areas of the intersections.
        old_area: (N,) areas.
        new_area: (M,) areas.
    """
    union = old_area[:, None] + new_area
    union -= both
    np.maximum(union, np.finfo(np.float32).tiny, out=union)
    return np.divide(both, union, out=union)


def _places(
    segment_map: npt.NDArray[np.uint16], ids: npt.NDArray[np.integer]
) -> npt.NDArray[np.int32]:
    """Return the position of each cell's id in `ids`, from 1, or 0 for other ids, (h, w)."""
    table = np.zeros(int(ids.max(initial=0)) + 2, np.int32)  # the last is for all larger ids
    table[ids] = np.arange(1, len(ids) + 1)
    table[0] = 0
    return table.take(segment_map, mode='clip')


def box_iou(a: Floats, b: Floats) -> Floats:
    """Compute the IoU of boxes.

    Args:
        a: (N, 4) boxes x1, y1, x2, y2.
        b: (M, 4) boxes.

    Returns:
        (N, M) float32.
    """
    left_a, top_a, right_a, bottom_a = a.T.astype(np.float32)[..., None]
    left_b, top_b, right_b, bottom_b = b.T.astype(np.float32)
    width = np.minimum(right_a, right_b)
    width -= np.maximum(left_a, left_b)
    height = np.minimum(bottom_a, bottom_b)
    height -= np.maximum(top_a, top_b)
    both = np.maximum(width, 0, out=width)
    both *= np.maximum(height, 0, out=height)
    area_a, area_b = (
        (right_a - left_a) * (bottom_a - top_a),
        (right_b - left_b) * (bottom_b - top_b),
    )
    return iou(both, area_a[:, 0], area_b)
