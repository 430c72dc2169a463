# SPDX-License-Identifier: Apache-2.0
"""Area, centroid and box of segments, in cells of the decoded map and in camera pixels."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry


class Extent(NamedTuple):
    """Extent of a mask, cells."""

    centroid: list[float]
    """x, y."""

    box: list[int]
    """x1, y1, x2, y2; the last two are exclusive."""


def extent_of(mask: npt.NDArray[np.bool_], area: int) -> Extent:
    """Return the extent of a mask (h, w) with `area` cells, at least 1."""
    centroid, low, high = [], [], []
    for axis in (0, 1):
        # The sum of a bool array, or one in 64 bits, takes three times as long.
        count = mask.view(np.uint8).sum(axis=axis, dtype=np.int32)
        places = np.flatnonzero(count)
        centroid.append(float(count @ np.arange(0.5, len(count)) / area))
        low.append(int(places[0]))
        high.append(int(places[-1]) + 1)
    return Extent(centroid, low + high)


def camera_columns(
    geometry: Geometry, area: npt.ArrayLike, centroid: npt.ArrayLike, box: npt.ArrayLike
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of `segment_dtype` that hold the extents of segments, camera px.

    Args:
        geometry: geometry of the map.
        area: (S,) cells.
        centroid: (S, 2) x, y, cells.
        box: (S, 4) x1, y1, x2, y2, cells.
    """
    px = np.array(geometry.px_per_cell[::-1], np.float32)  # (x, y)
    # The last cell may extend beyond the edge of the image.
    limit = geometry.image_size[::-1]
    corners = np.minimum(np.reshape(box, (-1, 2, 2)) * px, limit)
    u, v = np.minimum(np.reshape(centroid, (-1, 2)) * px, limit).T
    return {
        'u': u,
        'v': v,
        'bbox_x': corners[:, 0, 0],
        'bbox_y': corners[:, 0, 1],
        'bbox_w': corners[:, 1, 0] - corners[:, 0, 0],
        'bbox_h': corners[:, 1, 1] - corners[:, 0, 1],
        'area': np.rint(np.asarray(area) * px.prod()),
    }
