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

ROW_CHUNK = 64
"""Rows compared with all cells at a time: 64 x 1024 x 2048 float32 values take 0.5 GiB."""


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
    """Yield the cells of ROW_CHUNK rows at a time, (chunk, h, w) bool.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        rows: S.
    """
    for first in range(0, rows, ROW_CHUNK):
        number = torch.arange(
            first + 1, min(first + ROW_CHUNK, rows) + 1, device=row_map.device, dtype=torch.int32
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
    y, x = (torch.arange(n, device=row_map.device, dtype=torch.float32) for n in (height, width))
    areas, boxes, centroids, sums = [], [], [], []
    for cells in row_masks(row_map, rows):
        mask = cells.to(torch.float32)  # (chunk, h, w)
        by_row, by_column = mask.sum(dim=2), mask.sum(dim=1)  # enough for all but `value`
        area = by_row.sum(dim=1)
        centroid = torch.stack([by_column @ (x + 0.5), by_row @ (y + 0.5)], dim=1)
        (y1, y2), (x1, x2) = _extent(by_row, y), _extent(by_column, x)
        areas.append(area)
        boxes.append(torch.stack([x1, y1, x2, y2], dim=1))
        centroids.append(centroid / area.clamp(min=1)[:, None])
        sums.append(mask.flatten(1) @ columns)
    area = torch.cat(areas)
    mean = torch.cat(sums) / area.clamp(min=1)[:, None]
    return Measures(
        area, torch.cat(boxes), torch.cat(centroids), mean[:, 0] if value.ndim == 2 else mean
    )


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


def _extent(occupied: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first occupied place and one past the last, from (S, n) counts."""
    first = torch.where(occupied > 0, place, float(place.shape[0])).amin(dim=1)
    return first, torch.where(occupied > 0, place + 1, 0.0).amax(dim=1)


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
    px, instances = measures.area * stride**2, keep.shape[0]
    return (measures.area > 0) & torch.cat(
        [
            keep & (px[:instances] >= thresholds['min_area']),
            ~is_thing & (px[instances:] >= thresholds['min_stuff_area']),
        ]
    )


def to_segments(
    row_map: Tensor,
    measures: Measures,
    class_id: Tensor,
    score: Tensor,
    embedding: Tensor,
    valid: Tensor,
) -> SegmentTensors:
    """Paint the two maps with the valid rows, and fill the table.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        measures: of the rows.
        class_id: (S,) int.
        score: in [0, 1], (S,).
        embedding: (S, D).
        valid: rows to keep, (S,) bool.
    """
    class_id = class_id.to(torch.int32)
    index = row_map.flatten()
    number = torch.arange(1, class_id.shape[0] + 1, device=index.device, dtype=torch.int32)
    segment_of_row = torch.cat([number.new_zeros(1), number * valid])
    class_of_row = torch.cat(
        [number.new_full((1,), VOID_ID), torch.where(valid, class_id, VOID_ID)]
    )
    return SegmentTensors(
        segment_map=segment_of_row.index_select(0, index).view_as(row_map),
        semantic_map=class_of_row.index_select(0, index).view_as(row_map).to(torch.uint8),
        class_id=class_id,
        score=score,
        box=measures.box,
        centroid=measures.centroid,
        area=measures.area.to(torch.int32),
        embedding=embedding,
        valid=valid,
    )


def standardized(feature: Tensor) -> Tensor:
    """Normalise a feature (D, h, w) to mean 0 and standard deviation 1 per channel.

    Raw features are rarely negative and some channels are much larger than others. Normalised,
    they point in all directions, so that the angle between two of them separates instances.
    """
    feature = feature - feature.mean(dim=(1, 2), keepdim=True)
    return feature / (feature.square().mean(dim=(1, 2), keepdim=True) + 1e-6).sqrt()
