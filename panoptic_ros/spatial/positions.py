# SPDX-License-Identifier: Apache-2.0
"""Positions and boxes of segments in metres, from points of their visible surfaces."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry, PanopticFrame

EROSION_PX = 2
"""Camera pixels by which masks are eroded: at their edges the depth is often that of others."""

MAX_SAMPLES = 140_000
"""Most pixels of an image at which the depth is read; they form a regular grid."""

MAX_SEGMENT_SAMPLES = 4096
"""Segments with more pixels in that grid have a coarser one of their own."""

MIN_POINTS = 5
"""Fewest points that give a position."""

BOX_PERCENTILES = (5, 95)
"""Range of the points in each axis that a box covers, to leave out flying pixels."""

TOO_SMALL, NO_DEPTH = 'segments too small', 'segments without depth'
"""Reasons why a segment has no position."""


@dataclass(frozen=True)
class Positions:
    """Positions of the S segments of a frame, in the order of its table.

    All points are in the camera's optical frame, m; NaN for segments without a position.
    """

    median: npt.NDArray[np.float32]
    """(S, 3) median of the points in each axis."""

    low: npt.NDArray[np.float32]
    """(S, 3) corner of the box with the smallest coordinates, by `BOX_PERCENTILES`."""

    high: npt.NDArray[np.float32]
    """(S, 3) opposite corner."""

    missing: Mapping[str, int]
    """Number of segments without a position by reason."""


@dataclass(frozen=True)
class Samples:
    """Pixels of the eroded masks of a frame's segments."""

    ids: npt.NDArray[np.uint16]
    """(N,) segment ids."""

    index: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    """(N,) rows and columns of the camera's image."""


def inner_ids(
    frame: PanopticFrame, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint16]:
    """Return the segments of pixels, with masks that are eroded by EROSION_PX.

    Args:
        frame: the frame.
        rows: (N,) rows of the camera's image.
        cols: (N,) columns.

    Returns:
        (N,) segment ids; 0 where a pixel of the square around a pixel belongs to another segment.
        Beyond the edges of the image, all belong to the same.
    """
    return _common(frame, _cells_around(frame.geometry, rows, cols, _offsets(frame.geometry)))


CORNERS = (-EROSION_PX, EROSION_PX)


def _offsets(geometry: Geometry) -> tuple[int, ...]:
    """Return offsets from a pixel in an axis that miss no cell of the square around it."""
    step = int(np.clip(min(geometry.px_per_cell), 1, 2 * EROSION_PX))
    return (*range(-EROSION_PX, EROSION_PX, step), EROSION_PX)


def _cells_around(
    geometry: Geometry,
    rows: npt.NDArray[np.intp],
    cols: npt.NDArray[np.intp],
    offsets: Sequence[int],
) -> list[npt.NDArray[np.intp]]:
    """Return the flat indices of the cells (N,) at all pairs of offsets from pixels."""
    height, width = geometry.image_size
    return [
        geometry.cells_of(np.clip(rows + dy, 0, height - 1), np.clip(cols + dx, 0, width - 1))
        for dy in offsets
        for dx in offsets
    ]


def _common(frame: PanopticFrame, cells: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.uint16]:
    """Return the ids (N,) that all cells of a pixel have, 0 where they differ."""
    segment_map = frame.segment_map.reshape(-1)
    ids = segment_map.take(cells[0])
    same = np.ones(len(ids), bool)
    for others in cells[1:]:
        same &= segment_map.take(others) == ids
    return np.asarray(ids * same)


def sample_segments(frame: PanopticFrame) -> Samples:
    """Return pixels of all segments, at most about MAX_SEGMENT_SAMPLES of each."""
    rows, cols, number, corners = _grid(frame.geometry)
    ids = _common(frame, corners)
    share = np.maximum(np.bincount(ids) / MAX_SEGMENT_SAMPLES, 1)
    # Every second, fourth, ... pixel: where the lowest bits of its number are 0.
    mask = (2 ** np.ceil(np.log2(share)) - 1).astype(np.uint16)
    kept = np.flatnonzero(((number & mask.take(ids)) == 0) & (ids > 0))
    if _offsets(frame.geometry) != CORNERS:  # small cells may lie between the corners
        kept = kept[inner_ids(frame, rows.take(kept), cols.take(kept)) > 0]
    return Samples(ids.take(kept), (rows.take(kept), cols.take(kept)))


class _Grid(NamedTuple):
    """Pixels at which the depth of images may be read, (N,)."""

    rows: npt.NDArray[np.intp]
    cols: npt.NDArray[np.intp]
    number: npt.NDArray[np.uint16]
    corners: list[npt.NDArray[np.intp]]
    """Cells at the corners of the square that erosion considers."""


@lru_cache(maxsize=4)
def _grid(geometry: Geometry) -> _Grid:
    """Return the grid of an image.

    Consecutive rows are shifted, and pixels whose numbers have the same lowest bits form a
    shifted grid too: a median over them is not bound to the few columns of a square grid.
    """
    size = geometry.image_size
    step = math.ceil(math.sqrt(size[0] * size[1] / MAX_SAMPLES))
    first, width = min(step // 2, size[0] - 1), max(1, size[1] // step)
    i, j = np.mgrid[: len(range(first, size[0], step)), :width].reshape(2, -1)
    rows, cols = first + step * i, np.minimum(step * j + i % step, size[1] - 1)
    corners = _cells_around(geometry, rows, cols, CORNERS)
    return _Grid(rows, cols, (j + 19 * i).astype(np.uint16), corners)


def measure(
    ids: npt.NDArray[np.uint16], points: npt.NDArray[np.float32], frame: PanopticFrame
) -> Positions:
    """Return position and box of each segment from points of its surface.

    Args:
        ids: (N,) segment id of each point.
        points: (3, N) x, y, z in the camera's optical frame, m; NaN is ignored.
        frame: the frame with the S segments.
    """
    valid = np.flatnonzero(np.isfinite(points).all(axis=0))
    order = valid[np.argsort(ids.take(valid), kind='stable')]  # a radix sort for 16 bits
    grouped, points = ids.take(order), points.take(order, axis=1)
    wanted = frame.segments['segment_id']
    starts, stops = (np.searchsorted(grouped, wanted, side) for side in ('left', 'right'))
    median, low, high = np.full((3, len(wanted), 3), np.nan, np.float32)
    for row, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        n = stop - start
        if n < MIN_POINTS:
            continue
        ranked = np.sort(points[:, start:stop], axis=1)  # faster than partition() for so few
        median[row] = (ranked[:, (n - 1) // 2] + ranked[:, n // 2]) / 2
        low[row], high[row] = (
            ranked[:, round((n - 1) * percent / 100)] for percent in BOX_PERCENTILES
        )
    missing = np.isnan(median[:, 0])
    size = int(wanted.max(initial=0)) + 1
    has_pixels = np.bincount(ids, minlength=size)[wanted] > 0
    reasons = {TOO_SMALL: missing & ~has_pixels, NO_DEPTH: missing & has_pixels}
    return Positions(
        median, low, high, {reason: int(rows.sum()) for reason, rows in reasons.items()}
    )
