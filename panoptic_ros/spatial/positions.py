# SPDX-License-Identifier: Apache-2.0
"""Positions and boxes of segments in metres, from points of their visible surfaces."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame

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


def inner_map(id_map: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Return a map (H, W) of segment ids whose segments are eroded by EROSION_PX; 0 elsewhere.

    A pixel remains if all pixels of the square around it belong to its segment; beyond the edges
    of the image, they do.
    """
    side = 2 * EROSION_PX + 1
    window = np.ones((side, side), np.uint8)
    low = cv2.erode(id_map, window)
    return np.asarray(low * (low == cv2.dilate(id_map, window)))


def sample_segments(frame: PanopticFrame) -> Samples:
    """Return pixels of all segments, at most about MAX_SEGMENT_SAMPLES of each."""
    rows, cols, number = _grid(frame.geometry.image_size)
    ids = inner_map(frame.geometry.to_camera(frame.segment_map))[rows, cols]
    share = np.maximum(np.bincount(ids) / MAX_SEGMENT_SAMPLES, 1)
    # Every second, fourth, ... pixel: where the lowest bits of its number are 0.
    mask = (2 ** np.ceil(np.log2(share)) - 1).astype(np.uint16)
    kept = np.flatnonzero(((number & mask.take(ids)) == 0) & (ids > 0))
    return Samples(ids.take(kept), (rows.take(kept), cols.take(kept)))


@lru_cache(maxsize=4)
def _grid(
    size: tuple[int, int],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.uint16]]:
    """Return rows and columns of the pixels of the grid, and a number of each, (N,).

    Consecutive rows are shifted, and pixels whose numbers have the same lowest bits form a
    shifted grid too: a median over them is not bound to the few columns of a square grid.
    """
    step = math.ceil(math.sqrt(size[0] * size[1] / MAX_SAMPLES))
    first, width = min(step // 2, size[0] - 1), max(1, size[1] // step)
    i, j = np.mgrid[: len(range(first, size[0], step)), :width]
    cols = np.minimum(step * j + i % step, size[1] - 1)
    return (first + step * i).ravel(), cols.ravel(), (j + 19 * i).ravel().astype(np.uint16)


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
