# SPDX-License-Identifier: Apache-2.0
"""How far segments are from tracks: by embedding, by mask and by box."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

MAX_CELLS = 2**14
"""Larger maps are thinned out before masks are compared; overlap needs no finer grid."""


def unit(vectors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, D) vectors scaled to length 1; zero and non-finite ones become 0."""
    vectors = np.nan_to_num(np.asarray(vectors, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def cosine_distance(a: Floats, b: Floats) -> Floats:
    """Distance of unit vectors, 0 to 1; at a right angle and beyond it is 1.

    Args:
        a: (N, D)
        b: (M, D)

    Returns:
        (N, M) float32
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
    """IoU of old masks, each moved by its own shift, with new masks.

    Args:
        old_map: (h, w) segment id, 0 = none.
        old_ids: (N,) ids to compare; 0 for those not in the map.
        shift: (N, 2) (x, y) cells that each of them is expected to have moved.
        new_map: (h, w) segment id, 0 = none.
        new_ids: (M,) ids to compare.

    Returns:
        (N, M) float32; what is moved out of the image does not count.
    """
    step = math.ceil(math.sqrt(old_map.size / MAX_CELLS))
    old, new = (
        _places(m[::step, ::step], ids) for m, ids in ((old_map, old_ids), (new_map, new_ids))
    )
    height, width = old.shape
    cells = np.flatnonzero(old)
    place = old.ravel()[cells]
    y, x = np.divmod(cells.astype(np.int32), np.int32(width))
    moves = np.zeros((len(old_ids) + 1, 2), np.int32)
    moves[1:] = np.rint(shift / step)
    x, y = x + moves[place, 0], y + moves[place, 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place, hit = place[inside], new.ravel()[(y * width + x)[inside]]

    n, m = len(old_ids) + 1, len(new_ids) + 1
    both = np.bincount(place * m + hit, minlength=n * m).reshape(n, m).astype(np.float32)
    old_area, new_area = both.sum(axis=1), np.bincount(new.ravel(), minlength=m)
    return iou(both, old_area, new_area.astype(np.float32))[1:, 1:]


def iou(both: Floats, old_area: Floats, new_area: Floats) -> Floats:
    """Overlap (N, M) by what is in common, (N, M), and the areas, (N,) and (M,); 0 for no area."""
    union = old_area[:, None] + new_area
    union -= both
    np.maximum(union, np.finfo(np.float32).tiny, out=union)
    return np.divide(both, union, out=union)


def _places(
    segment_map: npt.NDArray[np.uint16], ids: npt.NDArray[np.integer]
) -> npt.NDArray[np.int32]:
    """(h, w) place of each cell's id in `ids`, from 1; 0 where it is not among them."""
    table = np.zeros(max(int(segment_map.max()), int(ids.max(initial=0))) + 1, np.int32)
    table[ids] = np.arange(1, len(ids) + 1)
    table[0] = 0
    return np.take(table, segment_map)


def box_iou(a: Floats, b: Floats) -> Floats:
    """IoU of boxes.

    Args:
        a: (N, 4) x1, y1, x2, y2.
        b: (M, 4)

    Returns:
        (N, M) float32
    """
    a, b = a.astype(np.float32), b.astype(np.float32)
    both = np.ones((), np.float32)
    for axis in (0, 1):
        side = np.minimum(a[:, axis + 2, None], b[:, axis + 2])
        side -= np.maximum(a[:, axis, None], b[:, axis])
        both = both * np.maximum(side, 0, out=side)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b))
    return iou(both, area_a, area_b)
