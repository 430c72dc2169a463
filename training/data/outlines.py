# SPDX-License-Identifier: Apache-2.0
"""Outlines of objects as COCO's instance annotations have them: polygons and run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.json_values import number, short

Polygon = npt.NDArray[np.float64]
"""(N, 2) corners x, y, px."""

MOST_RUN = 2**40
"""Run lengths are shorter than this."""


class RunLengths(NamedTuple):
    """A mask by columns, as lengths outside and inside in turn."""

    counts: list[Any] | str
    """Numbers, or COCO's letters."""
    size: tuple[int, int]
    """(height, width), px."""


Outline = list[Polygon] | RunLengths


def parse_outline(value: object) -> Outline | None:
    """The value of `segmentation`; None where it holds no corner.

    Raises:
        ValueError: if it is neither a list of polygons nor run lengths.
    """
    if isinstance(value, dict):
        counts, size = value.get('counts'), value.get('size')
        if not isinstance(counts, (list, str)) or not isinstance(size, list) or len(size) != 2:
            raise ValueError(
                'run lengths need counts, a list or a text, and size, [height, '
                f'width], got {short(value)}'
            )
        height, width = (number({'size': side}, 'size', 1) for side in size)
        return RunLengths(counts, (height, width))
    if value is not None and not isinstance(value, list):
        raise ValueError(f'segmentation must be polygons or run lengths, got {short(value)}')
    polygons = [_polygon(corners) for corners in value or ()]
    return polygons if any(map(len, polygons)) else None


def encloses(polygon: Polygon) -> bool:
    """Whether a polygon has an inside: three corners at least that lie on no line."""
    return len(polygon) >= 3 and np.linalg.matrix_rank(polygon - polygon[0]) == 2


def check_reach(polygons: Sequence[Polygon], shape: tuple[int, ...]) -> None:
    """Refuses corners that lie further outside of an image than its own size.

    Raises:
        ValueError: naming the corner.
    """
    size = np.array(shape[::-1])
    for polygon in polygons:
        far = (np.abs(polygon - size / 2) > 1.5 * size).any(axis=1)
        if far.any():
            x, y = polygon[far][0]
            raise ValueError(
                f'a polygon has a corner at x = {x:g}, y = {y:g}, far outside the '
                f'image of {shape[1]} x {shape[0]} pixels'
            )


def fill(polygons: Sequence[npt.ArrayLike], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels whose centres lie in polygons, (H, W); polygons without an inside have none.

    OpenCV fills the pixels that a border touches as well, which would let neighbours overlap:
    filled three times as large, the border is a third of a pixel.

    Args:
        polygons: x, y, x, y, ... of each, in any shape, px.
        shape: (H, W).

    Raises:
        ValueError: see `check_reach`.
    """
    corners = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    check_reach(corners, shape)  # those far outside take long to draw
    large = np.zeros((3 * shape[0], 3 * shape[1]), np.uint8)
    for polygon in filter(encloses, corners):
        points = np.rint(3 * polygon[:, None] - 0.5)
        cv2.fillPoly(large, [points.astype(np.int32)], (1,))
    return large[1::3, 1::3].astype(bool)


def mask_of(outline: Outline, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) pixels of an outline.

    Raises:
        ValueError: if run lengths do not fill the image, or a polygon lies far outside of it.
    """
    if not isinstance(outline, RunLengths):
        return fill(outline, shape)
    counts = outline.counts
    runs = np.array(
        decode_counts(counts)
        if isinstance(counts, str)
        else [number({'counts': run}, 'counts', 0, MOST_RUN) for run in counts],
        np.int64,
    )
    if outline.size != shape or (runs < 0).any() or runs.sum() != np.prod(shape):
        raise ValueError(
            f'run lengths of {int(runs.sum())} px and size {list(outline.size)} '
            f'in an image of {shape[0]} x {shape[1]}'
        )
    values = np.arange(len(runs)) % 2 == 1  # the first run is outside
    return np.repeat(values, runs).reshape(shape[::-1]).T  # by columns


def decode_counts(text: str) -> list[int]:
    """Run lengths from letters: five bits in each, the lowest first, bit 6 for more to come.

    From the fourth on, they are differences to the run before the last.

    Raises:
        ValueError: if a letter is none of COCO's, or a run is too long for any image.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode():
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError(
                f'run lengths must be written in the letters of COCO, got {short(text)}'
            )
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            if abs(counts[-1]) > MOST_RUN:
                raise ValueError(f'run lengths of {counts[-1]} px fit no image')
            value = shift = 0
    return counts


def _polygon(corners: object) -> Polygon:
    try:
        values = np.array(corners, np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.array(np.nan)
    if (
        not isinstance(corners, list)
        or values.ndim != 1
        or len(values) % 2
        or not np.isfinite(values).all()
    ):
        raise ValueError(
            'segmentation must be a list of polygons, each [x, y, x, y, ...] of '
            'finite numbers; one polygon is '
            f'{short(corners)}'
        )
    return values.reshape(-1, 2)
