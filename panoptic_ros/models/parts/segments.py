# SPDX-License-Identifier: Apache-2.0
"""Last steps of decoding, shared by all families: from a map of rows to the table of segments.

A decoder paints a map in which each cell holds the number of its row: rows 0 to K - 1 are
instances and the last C rows hold the stuff of each class. `measure` computes area, box and
centroid of each row, `valid_rows` selects the rows that are large enough, and `to_segments` fills
the graph's outputs.

Everything here is written for export: fixed shapes, no data-dependent Python, and operators
that TensorRT has. Scattered sums would be less work, but TensorRT refuses them where there are
more cells than rows. Rows are therefore compared with all cells.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.base import SegmentTensors

MOST_VALUES = 64 * 1024 * 2048
"""Largest matrix of rows and cells; its float32 values take 0.5 GiB."""


def row_slices(rows: int, cells: int) -> list[slice]:
    """Return the slices of rows that are compared with all cells at a time."""
    size = max(1, MOST_VALUES // cells)
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def take(table: Tensor, rows: slice) -> Tensor:
    """Return some rows of a table; all of them without an operation."""
    return table if rows.stop - rows.start == table.shape[0] else table[rows]


class Measures(NamedTuple):
    """Geometry of each row of a map; the values of a row without cells have no meaning."""

    area: Tensor
    """Cells, (S,); 0 for a row without cells."""

    box: Tensor
    """x1, y1, x2, y2 in cells, right and bottom exclusive, (S, 4)."""

    centroid: Tensor
    """Mean (x, y) of the cells' centres, cells, (S, 2)."""

    mean: Tensor
    """Mean of the values of the row's cells, (S,) or (S, V)."""


def row_masks(row_map: Tensor, rows: int) -> Iterator[Tensor]:
    """Yield the cells of some rows at a time, (chunk, h, w) bool.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        rows: S.
    """
    for part in row_slices(rows, row_map.numel()):
        number = torch.arange(
            part.start + 1, part.stop + 1, device=row_map.device, dtype=torch.int32
        )
        yield row_map[None] == number[:, None, None]


def measure(row_map: Tensor, rows: int, value: Tensor) -> Measures:
    """Measure the rows of a map.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        rows: S.
        value: a number for each cell, (h, w), or several, (h, w, V).
    """
    height, width = row_map.shape
    columns = value.reshape(height * width, -1)
    weights, sides, sign, offset = _line_weights(height, width, columns)
    areas, boxes, centroids, sums = [], [], [], []
    for cells in row_masks(row_map, rows):
        mask = cells.to(columns.dtype)  # (chunk, h, w)
        # Counts per line and column are enough for all but `value`.
        counts = torch.cat([mask.sum(dim=1), mask.sum(dim=2)], dim=1)  # (chunk, w + h)
        centroid, area = (counts @ weights).split([2, 1], dim=1)
        extent = (counts.clamp(max=1)[:, None] * sides).amax(dim=2)  # (chunk, 4)
        areas.append(area)
        boxes.append(extent * sign + offset)
        centroids.append(centroid / area.clamp(min=1))
        sums.append(mask.flatten(1) @ columns)
    area = torch.cat(areas)
    mean = torch.cat(sums) / area.clamp(min=1)
    return Measures(
        area.squeeze(1),
        torch.cat(boxes),
        torch.cat(centroids),
        mean.squeeze(1) if value.ndim == 2 else mean,
    )


def _line_weights(height: int, width: int, like: Tensor) -> tuple[Tensor, ...]:
    """Return the constants that turn counts per column and per line (w + h) into measures.

    Returns:
        Weights (w + h, 3) of the sums of x and y and of the area; for x1, y1, x2, y2 the weights
        (4, w + h) whose maximum over occupied columns or lines gives the side, and the sign and
        offset (4,) that it still needs.
    """
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    weights = torch.stack(
        [
            F.pad(x + 0.5, (0, height)),
            F.pad(y + 0.5, (width, 0)),
            F.pad(torch.ones_like(x), (0, height)),
        ],
        dim=1,
    )
    sides = torch.stack(
        [
            F.pad(width - x, (0, height)),
            F.pad(height - y, (width, 0)),
            F.pad(x + 1, (0, height)),
            F.pad(y + 1, (width, 0)),
        ]
    )
    return weights, sides, like.new_tensor([-1, -1, 1, 1]), like.new_tensor([width, height, 0, 0])


def mask_mean(row_map: Tensor, rows: int, feature: Tensor) -> Tensor:
    """Compute the mean feature of each row's cells.

    Where the feature is coarser than the map, each of its cells counts by the part that the row
    covers.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        rows: S.
        feature: (D, h / n, w / n) for a whole n.

    Returns:
        (S, D), 0 for a row without a cell.
    """
    ratio = row_map.shape[0] // feature.shape[1]
    columns = feature.flatten(1).T
    means = []
    for cells in row_masks(row_map, rows):
        mask = cells.to(feature.dtype)
        if ratio > 1:
            mask = F.avg_pool2d(mask[None], ratio)[0]
        mask = mask.flatten(1)
        means.append(mask @ columns / mask.sum(dim=1, keepdim=True).clamp(min=1e-6))
    return torch.cat(means)


def valid_rows(
    measures: Measures,
    keep: Tensor,
    is_thing: Tensor,
    stride: int,
    thresholds: Mapping[str, Tensor],
) -> Tensor:
    """Select the rows that become segments: those that have cells and are large enough.

    Args:
        measures: of K instance rows, then one row of stuff per class.
        keep: instance rows that the decoder accepts, (K,) bool.
        is_thing: (C,) bool.
        stride: input pixels per cell.
        thresholds: `min_area` and `min_stuff_area`, input px.

    Returns:
        (K + C,) bool.
    """
    px = measures.area * stride**2
    least = [
        thresholds[name].expand(count)
        for name, count in (('min_area', len(keep)), ('min_stuff_area', len(is_thing)))
    ]
    large = torch.logical_not(px < torch.cat(least))
    return large & (px > 0) & torch.cat([keep, ~is_thing])


def to_segments(
    row_map: Tensor,
    measures: Measures,
    class_id: Tensor,
    score: Tensor,
    embedding: Tensor,
    valid: Tensor,
    confidence: Tensor,
) -> SegmentTensors:
    """Paint the maps with the valid rows, and fill the table.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        measures: of the rows.
        class_id: (S,) int.
        score: in [0, 1], (S,).
        embedding: (S, D).
        valid: rows to keep, (S,) bool.
        confidence: probability of each cell's class or mask, 0 to 1, (h, w).
    """
    class_id = class_id.to(torch.int32)
    index = row_map.flatten()
    number = torch.arange(1, class_id.shape[0] + 1, device=index.device, dtype=torch.int32)
    segment_of_row = torch.cat([number.new_zeros(1), number * valid])
    class_of_row = torch.cat(
        [number.new_full((1,), VOID_ID), torch.where(valid, class_id, VOID_ID)]
    )
    segment_map = segment_of_row.index_select(0, index).view_as(row_map)
    return SegmentTensors(
        segment_map=segment_map,
        semantic_map=class_of_row.index_select(0, index).view_as(row_map).to(torch.uint8),
        class_id=class_id,
        score=score,
        box=measures.box,
        centroid=measures.centroid,
        area=measures.area.to(torch.int32),
        embedding=embedding,
        valid=valid,
        confidence=torch.where(segment_map > 0, confidence * 255, 0.0).to(torch.uint8),
    )


def standardized(feature: Tensor) -> Tensor:
    """Normalise a feature (D, h, w) to mean 0 and standard deviation 1 per channel.

    Raw features are rarely negative and some channels are much larger than others. Normalised,
    they point in all directions, so that the angle between two of them separates instances.
    """
    feature = feature - feature.mean(dim=(1, 2), keepdim=True)
    return feature / (feature.square().mean(dim=(1, 2), keepdim=True) + 1e-6).sqrt()
