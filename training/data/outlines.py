# SPDX-License-Identifier: Apache-2.0
"""COCO's instance annotations: objects with one outline each, which may overlap.

An outline is a list of polygons, or a run-length encoded mask.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.json_values import Item, each, flag, identity, number
from panoptic_ros.core.text import short

Polygon = npt.NDArray[np.float64]
"""(N, 2) corners x, y, px."""

MAX_RUN = 2**40
"""Upper bound of a run length, px."""


class RunLengths(NamedTuple):
    """Mask by columns as the lengths of alternating runs, the first one outside."""

    counts: list[Any] | str
    """Numbers, or COCO's compressed text."""
    size: tuple[int, int]
    """(height, width), px."""


Outline = list[Polygon] | RunLengths


class Instance(NamedTuple):
    """One annotation."""

    name: str
    """Its id, for error messages."""
    image_id: int | str
    category_id: int
    crowd: bool
    outline: Outline | None
    """Mask of the object; None where only a box is given."""


def read_instance_annotations(document: Item, path: Path) -> dict[int | str, list[Instance]]:
    """Return the annotations of each annotated image, in the file's order.

    Args:
        document: the parsed file.
        path: the file, for error messages.

    Raises:
        ValueError: naming the place of the first missing or invalid value.
    """
    of_image: dict[int | str, list[Instance]] = {}
    for instance in each(document.get('annotations'), f'{path}: annotations', _instance):
        of_image.setdefault(instance.image_id, []).append(instance)
    return of_image


def _instance(entry: Item) -> Instance:
    return Instance(
        f'annotation {short(entry.get("id"))}',
        identity(entry, 'image_id'),
        number(entry, 'category_id'),
        flag(entry, 'iscrowd', False),
        parse_outline(entry.get('segmentation')),
    )


def parse_outline(value: object) -> Outline | None:
    """Parse the value of `segmentation`; return None if it has no corner.

    Raises:
        ValueError: for a value that is neither a list of polygons nor run lengths.
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
    """Return whether a polygon has an area: at least three corners that are not collinear."""
    return len(polygon) >= 3 and np.linalg.matrix_rank(polygon - polygon[0]) == 2


def check_reach(polygons: Sequence[Polygon], shape: tuple[int, ...]) -> None:
    """Refuse corners that lie further outside an image than its own size.

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
    """Return the pixels whose centres lie in polygons, (H, W); degenerate polygons have none.

    OpenCV also fills the pixels that a border touches, so that neighbours would overlap. The
    polygons are therefore filled at three times the size, where the border is a third of a pixel.

    Args:
        polygons: x, y, x, y, ... of each, in any shape, px.
        shape: (H, W).

    Raises:
        ValueError: see `check_reach`.
    """
    corners = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    check_reach(corners, shape)  # corners far outside take long to draw
    large = np.zeros((3 * shape[0], 3 * shape[1]), np.uint8)
    for polygon in filter(encloses, corners):
        points = np.rint(3 * polygon[:, None] - 0.5)
        cv2.fillPoly(large, [points.astype(np.int32)], (1,))
    return large[1::3, 1::3].astype(bool)


def mask_of(outline: Outline, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the pixels of an outline, (H, W).

    Raises:
        ValueError: for run lengths that do not fill the image, or a polygon far outside it.
    """
    if not isinstance(outline, RunLengths):
        return fill(outline, shape)
    counts = outline.counts
    runs = np.array(
        decode_counts(counts)
        if isinstance(counts, str)
        else [number({'counts': run}, 'counts', 0, MAX_RUN) for run in counts],
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
    """Decode COCO's compressed run lengths.

    Each character holds five bits, the lowest first, and a sixth bit if more characters follow.
    From the fourth run on, a value is the difference to the run before the last.

    Raises:
        ValueError: for a character that COCO does not use, or a run that is too long.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode():
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError(f"a text of run lengths must use COCO's encoding, got {short(text)}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            if abs(counts[-1]) > MAX_RUN:
                raise ValueError(f'run lengths of {counts[-1]} px do not fit an image')
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
