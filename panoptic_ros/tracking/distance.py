"""How far segments are from tracks: by embedding, by mask and by box."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

MAX_CELLS = 2**15
"""Larger maps are thinned out before masks are compared; overlap needs no finer grid."""


def unit(vectors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, D) vectors scaled to length 1; zero and non-finite ones become 0."""
    vectors = np.nan_to_num(np.asarray(vectors, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def cosine_distance(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """Distance of unit vectors, 0 to 1; at a right angle and beyond it is 1.

    Args:
        a: (N, D)
        b: (M, D)

    Returns:
        (N, M)
    """
    return np.clip(1 - a @ b.T, 0, 1)


def mask_iou(old_map: npt.NDArray[np.uint16], old_ids: npt.NDArray[np.integer],
             shift: Floats, new_map: npt.NDArray[np.uint16],
             new_ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """IoU of old masks, each moved by its own shift, with new masks.

    Args:
        old_map: (h, w) segment id, 0 = none.
        old_ids: (N,) ids to compare; 0 for those not in the map.
        shift: (N, 2) (x, y) cells that each of them is expected to have moved.
        new_map: (h, w) segment id, 0 = none.
        new_ids: (M,) ids to compare.

    Returns:
        (N, M); what is moved out of the image does not count.
    """
    step = math.ceil(math.sqrt(old_map.size / MAX_CELLS))
    old, new = (_places(m[::step, ::step], ids)
                for m, ids in ((old_map, old_ids), (new_map, new_ids)))
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
    both = np.bincount(place * m + hit, minlength=n * m).reshape(n, m)
    new_area = np.bincount(new.ravel(), minlength=m)
    union = both.sum(axis=1)[:, None] + new_area - both
    return (both / np.maximum(union, 1))[1:, 1:]


def _places(segment_map: npt.NDArray[np.uint16], ids: npt.NDArray[np.integer],
            ) -> npt.NDArray[np.int32]:
    """(h, w) place of each cell's id in `ids`, from 1; 0 where it is not among them."""
    table = np.zeros(max(int(segment_map.max()), int(ids.max(initial=0))) + 1, np.int32)
    table[ids] = np.arange(1, len(ids) + 1)
    table[0] = 0
    return np.take(table, segment_map)


def box_iou(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """IoU of boxes.

    Args:
        a: (N, 4) x1, y1, x2, y2.
        b: (M, 4)

    Returns:
        (N, M)
    """
    ax1, ay1, ax2, ay2 = a.T[:, :, None]  # (N, 1) each
    bx1, by1, bx2, by2 = b.T[:, None]  # (1, M) each
    both = (np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0)
            * np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0))
    area_a, area_b = (ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)
    union = area_a + area_b - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def grow(boxes: Floats, factor: float, margin: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Boxes with their sides times `factor` about the same centre, then `margin` on each side.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        factor: of both sides.
        margin: (2,) in x and y.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) * factor / 2 + np.asarray(margin)
    return np.hstack([centre - half, centre + half])
