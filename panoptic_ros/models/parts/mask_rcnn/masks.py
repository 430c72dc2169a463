# SPDX-License-Identifier: Apache-2.0
"""Pasting of box masks into the image, removal of covered ones, and the table of segments.

Shapes are fixed, and matrix products replace sampling: bilinear pasting is a product with one
matrix of weights for the rows and one for the columns.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections
from panoptic_ros.models.parts.segments import measure, to_segments, valid_rows


def paste(values: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize each map bilinearly to its box, with 0 outside.

    Args:
        values: (K, m, m).
        boxes: x1, y1, x2, y2 in cells, (K, 4).
        size: (h, w) of the image, cells.

    Returns:
        (K, h, w)
    """
    rows = _weights(boxes[:, 1], boxes[:, 3], size[0], values.shape[1])  # (K, h, m)
    columns = _weights(boxes[:, 0], boxes[:, 2], size[1], values.shape[2])  # (K, w, m)
    return rows @ values @ columns.transpose(1, 2)


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the cells whose centre lies in each box (K, 4), (K, h, w) bool."""
    rows = between(boxes[:, 1], boxes[:, 3], size[0])
    columns = between(boxes[:, 0], boxes[:, 2], size[1])
    return rows[:, :, None] & columns[:, None, :]


def between(low: Tensor, high: Tensor, count: int) -> Tensor:
    """Return the cells whose centre lies between low and high (K,), (K, count) bool."""
    centre = torch.arange(count, device=low.device) + 0.5
    return (centre > low[:, None]) & (centre < high[:, None])


def _weights(low: Tensor, high: Tensor, count: int, bins: int) -> Tensor:
    """Return the bilinear weight of each bin from low to high at each cell, (K, count, bins)."""
    centre = torch.arange(count, device=low.device) + 0.5
    extent = (high - low).clamp(min=1e-3)[:, None]
    place = ((centre - low[:, None]) / extent * bins - 0.5).clamp(0, bins - 1)  # (K, count)
    distance = (place[:, :, None] - torch.arange(bins, device=low.device)).abs()
    return (1 - distance).relu() * between(low, high, count)[:, :, None]


def keep_uncovered(
    mask: Tensor, alive: Tensor, limit: Tensor, group: Tensor | None = None
) -> Tensor:
    """Drop, from the first row to the last, masks that kept masks cover too much of.

    Args:
        mask: 0 or 1, in order of preference, (K, N) float.
        alive: (K,) bool.
        limit: largest part of a mask that may be covered, ().
        group: one-hot rows, (K, G) float: only masks of its own group cover a mask. None puts all
            into one group.

    Returns:
        (K,) bool; False also for empty masks.
    """
    area = mask.sum(dim=1, keepdim=True)  # (K, 1)
    most = torch.where(alive[:, None] & (area > 0), limit * area, -1.0)
    groups = torch.ones_like(area) if group is None else group
    cover = mask.new_zeros(groups.shape[1], mask.shape[1])  # cells of each group's kept masks
    covered = []
    for row, own, bound in zip(mask.split(1), groups.split(1), most.split(1), strict=True):
        before = cover if group is None else own @ cover  # (1, N)
        count = (before * row).sum(dim=1, keepdim=True)
        kept = torch.where(count > bound, 0.0, row)
        cover = torch.maximum(cover, kept if group is None else own.T * kept)
        covered.append(count)
    return (torch.cat(covered) <= most).squeeze(1)


def first_row(mask: Tensor) -> Tensor:
    """Return the first row that holds each cell plus 1, or 0: (K, h, w) bool -> (h, w) int32."""
    rows = mask.shape[0]
    rank = torch.arange(rows, 0, -1, device=mask.device, dtype=torch.float32)  # K for the first
    best = (mask.to(torch.float32) * rank[:, None, None]).amax(dim=0)
    return torch.where(best > 0, rows + 1 - best, 0.0).to(torch.int32)


def pasted(found: Detections, masks: Tensor, semantic_logits: Tensor, stride: int) -> Tensor:
    """Paste mask logits into the image at a stride, (K, h, w)."""
    height, width = (n * MAP_STRIDE // stride for n in semantic_logits.shape[1:])
    return paste(masks, found.box / stride, (height, width))


def table(
    row_map: Tensor,
    found: Detections,
    keep: Tensor,
    cell_prob: Tensor,
    confidence: Tensor,
    thing_class: Tensor,
    is_thing: Tensor,
    stride: int,
    thresholds: Mapping[str, Tensor],
) -> SegmentTensors:
    """Fill the table: rows 0 to K - 1 are the instances, then one row of stuff per class.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        found: K detections.
        keep: detections that are in the map, (K,) bool.
        cell_prob: probability of each cell's class, (h, w); a stuff segment's score is its mean.
        confidence: probability of each cell's class or mask, (h, w).
        thing_class: class ids of the thing classes, (T,).
        is_thing: (C,) bool.
        stride: input pixels per cell.
        thresholds: `min_area` and `min_stuff_area`.
    """
    instances, classes = found.box.shape[0], is_thing.shape[0]
    measures = measure(row_map, instances + classes, cell_prob)
    return to_segments(
        row_map,
        measures,
        valid=valid_rows(measures, keep, is_thing, stride, thresholds),
        class_id=torch.cat(
            [
                thing_class.index_select(0, found.thing),
                torch.arange(classes, device=row_map.device),
            ]
        ),
        score=torch.cat([found.score, measures.mean[instances:]]),
        embedding=F.pad(found.embedding, (0, 0, 0, classes)),  # zeros: stuff has no box
        confidence=confidence,
    )
