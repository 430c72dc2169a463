"""From a map of row numbers to the table's areas, boxes and centroids; shared by all families.

Everything here is written for export: fixed shapes, no data-dependent Python, and operators
that TensorRT has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.labels import VOID_ID
from panoptic_ros.models.base import SegmentTensors


def count_by_row(index: Tensor, position: Tensor, rows: int, length: int) -> Tensor:
    """Cells of each row at each position along one axis.

    Args:
        index: row of each cell, 0 to rows - 1, (N,) int64.
        position: place of each cell along the axis, 0 to length - 1, (N,) int64.

    Returns:
        (rows, length) float32.
    """
    counts = torch.zeros(rows * length, device=index.device)
    ones = torch.ones(index.shape, device=index.device)
    return counts.scatter_add(0, index * length + position, ones).view(rows, length)


def extent(counts: Tensor) -> tuple[Tensor, Tensor]:
    """First occupied position and one past the last of each row of `count_by_row`, (rows,)."""
    length = counts.shape[1]
    place = torch.arange(length, device=counts.device, dtype=counts.dtype)
    occupied = counts > 0
    first = torch.where(occupied, place, float(length)).amin(dim=1)
    last = torch.where(occupied, place + 1, 0.0).amax(dim=1)
    return first, last


def finish(row_map: Tensor, class_id: Tensor, score: Tensor, embedding: Tensor, exists: Tensor,
           min_cells: Tensor) -> SegmentTensors:
    """Measures the rows, drops those that are too small, and paints the two maps.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int64.
        class_id: (S,) int64.
        score: (S,) in [0, 1].
        embedding: (S, D).
        exists: rows that may be kept, (S,) bool.
        min_cells: fewest cells that a row needs, (S,).
    """
    height, width = row_map.shape
    rows = class_id.shape[0] + 1
    index = row_map.reshape(-1)  # (N,)
    y, x = (torch.arange(n, device=index.device) for n in (height, width))
    by_y = count_by_row(index, y[:, None].expand(height, width).reshape(-1), rows, height)[1:]
    by_x = count_by_row(index, x[None].expand(height, width).reshape(-1), rows, width)[1:]
    area = by_y.sum(dim=1)  # (S,)
    (y1, y2), (x1, x2) = extent(by_y), extent(by_x)
    safe_area = area.clamp(min=1)
    centroid = torch.stack([(by_x * (x + 0.5)).sum(dim=1) / safe_area,
                            (by_y * (y + 0.5)).sum(dim=1) / safe_area], dim=1)  # (S, 2)
    valid = exists & (area > 0) & (area >= min_cells)
    row_number = torch.arange(1, rows, device=index.device)
    segment_of_row = torch.cat([row_number.new_zeros(1), row_number * valid])
    class_of_row = torch.cat([class_id.new_full((1,), VOID_ID),
                              torch.where(valid, class_id, VOID_ID)])
    return SegmentTensors(
        segment_map=segment_of_row.index_select(0, index).view(height, width).to(torch.int32),
        semantic_map=class_of_row.index_select(0, index).view(height, width).to(torch.uint8),
        class_id=class_id.to(torch.int32), score=score,
        box=torch.stack([x1, y1, x2, y2], dim=1), centroid=centroid,
        area=area.to(torch.int32), embedding=embedding, valid=valid)
