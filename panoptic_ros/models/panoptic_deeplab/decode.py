# SPDX-License-Identifier: Apache-2.0
"""Decoding of Panoptic-DeepLab as tensor code that exports; shared by the families built on it.

Centres are local maxima of a heatmap. Each thing pixel joins the centre that is nearest to the
place its offset points to, and the majority of its pixels determines an instance's class.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_ros.models.config import MAP_STRIDE, NEVER
from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.parts.layers import upsample
from panoptic_ros.models.parts.nms import greedy_keep
from panoptic_ros.models.parts.peaks import best_match, find_peaks, row_and_column
from panoptic_ros.models.parts.segments import Measures, measure, valid_rows


class Grouping(NamedTuple):
    """Cells grouped into rows: 0 to K - 1 are instances, then one row of stuff per class."""

    row_map: Tensor
    """Row of each cell plus 1, 0 for void, (h, w) int32."""

    center: Tensor
    """Flat index of the stride-4 cell of each instance's centre, (K,)."""

    measures: Measures
    """Measures of the K + C rows; `class_id` and `score` derive from `mean`."""

    class_id: Tensor
    """(K + C,)"""

    score: Tensor
    """In [0, 1], (K + C,)."""

    valid: Tensor
    """(K + C,) bool."""

    confidence: Tensor
    """Probability of each cell's class, 0 to 1, (h, w)."""


def window_of(kernel: int) -> int:
    """Convert a window of `kernel` px to stride-4 cells: an odd number, at least 3."""
    return max(2 * round((kernel / MAP_STRIDE - 1) / 2) + 1, 3)


def find_centers(
    heatmap: Tensor, window: int, top_k: int, across_maps: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the local maxima of all maps, and only the best of those in one window.

    Within a map this affects equal heights only. Between maps it prevents an object from being
    split between two classes.

    Args:
        heatmap: (C, h, w).
        window: cells, odd.
        top_k: K, the number of rows.
        across_maps: whether maxima of different maps compete.

    Returns:
        Heights in descending order, flat indices of the cells, and the rows that hold a
        centre; all (K,).
    """
    value, place = find_peaks(heatmap, window, top_k)
    maps, height, width = heatmap.shape
    cell = place if maps == 1 else place % (height * width)
    y, x = row_and_column(cell, width)
    near = ((y[:, None] - y).abs() <= window // 2) & ((x[:, None] - x).abs() <= window // 2)
    if not across_maps:
        number = place // (height * width)
        near = near & (number[:, None] == number)
    return value, cell, greedy_keep(near, value > NEVER / 2)


def nearest_center(offset: Tensor, center: Tensor, alive: Tensor, stride: int) -> Tensor:
    """Find the centre that is nearest to the place each cell's offset points to.

    `|p + O(p) - c|^2` is `|p + O(p)|^2`, which is equal for all centres, minus a linear function
    of p + O(p), so that one matrix product compares all centres with all cells.

    Args:
        offset: (dy, dx) from each cell to its centre, input px, (2, h, w).
        center: (y, x) of the centres, input px, (K, 2).
        alive: centres that take part, (K,) bool.
        stride: input px per cell.

    Returns:
        The row of the centre, -1 if there is none, (h * w,).
    """
    middle = center.new_tensor(offset.shape[1:]) * (stride / 2)
    scale = 2 / (stride * max(offset.shape[1:]))  # places lie in -1 to 1, precise in float32
    points = (cell_places(offset, stride) + offset.flatten(1).T - middle) * scale  # (N, 2)
    at = (center - middle) * scale
    weights = torch.cat([2 * at, -at.square().sum(dim=1, keepdim=True)], dim=1)  # (K, 3)
    nothing = weights.new_tensor([0, 0, NEVER])
    best, row = best_match(
        torch.cat([points, torch.ones_like(points[:, :1])], dim=1),
        torch.where(alive[:, None], weights, nothing),
    )
    return torch.where(best > NEVER / 2, row, -1)


def cell_places(like: Tensor, stride: int) -> Tensor:
    """Return (y, x) of the cells' centres, input px, (h * w, 2), for a map (..., h, w)."""
    y, x = (torch.arange(n, device=like.device, dtype=like.dtype) for n in like.shape[-2:])
    grid = torch.stack(torch.meshgrid(y, x, indexing='ij'), dim=-1)
    return (grid.reshape(-1, 2) + 0.5) * stride


def decode(
    semantic_logits: Tensor,
    heatmap: Tensor,
    offset: Tensor,
    is_thing: Tensor,
    config: PanopticDeepLabConfig,
    thresholds: Mapping[str, Tensor],
    across_maps: bool = True,
) -> Grouping:
    """Maps of one image to rows; logits and offsets are upsampled to the stride first.

    Centres are looked for at stride 4: upsampling would add no maximum, only equal ones.

    Args:
        semantic_logits: (C, H/4, W/4).
        heatmap: of the centres, heights 0 to 1, (M, H/4, W/4).
        offset: (dy, dx) to the centre, input px, (2, H/4, W/4).
        is_thing: (C,) bool.
        config: supplies lengths, K and the kind of score.
        thresholds: scalars by name, see `PanopticDeepLabConfig.thresholds`.
        across_maps: see `find_centers`.
    """
    peak, cell, alive = find_centers(
        heatmap, window_of(config.nms_kernel), config.top_k, across_maps
    )
    center = cell_places(heatmap, MAP_STRIDE).index_select(0, cell)
    semantic_logits, offset = (
        upsample(x[None], config.stride)[0] for x in (semantic_logits, offset)
    )
    num_classes, height, width = semantic_logits.shape
    logits = semantic_logits.flatten(1).T  # (N, C): classes on the dense axis, for speed
    cell_class = logits.argmax(dim=1)
    thing_cell = is_thing.index_select(0, cell_class)
    alive = alive & (peak > thresholds['center_threshold'])
    instance = nearest_center(offset, center, alive, config.stride)
    num_centers = center.shape[0]
    row_map = torch.where(thing_cell, instance + 1, cell_class + (num_centers + 1))
    row_map = row_map.view(height, width).to(torch.int32)

    classes = torch.arange(num_classes, device=logits.device)
    votes = (cell_class[:, None] == classes).to(logits.dtype)
    psi = logits.softmax(dim=1)
    values = torch.cat([votes, psi], dim=1).view(height, width, -1)
    measures = measure(row_map, num_centers + num_classes, values)
    share, prob = measures.mean.split(num_classes, dim=1)  # (K + C, C) each
    class_id = torch.cat([share[:num_centers].argmax(dim=1), classes])
    score = prob.gather(1, class_id[:, None])[:, 0]
    if config.instance_score != 'semantic':
        objectness = peak.clamp(0, 1)
        factor = score[:num_centers] if config.instance_score == 'product' else 1.0
        score = torch.cat([objectness * factor, score[num_centers:]])

    keep = score[:num_centers] >= thresholds['score_threshold']
    valid = valid_rows(measures, keep, is_thing, config.stride, thresholds)
    confidence = psi.amax(dim=1).view(height, width)
    return Grouping(row_map, cell, measures, class_id, score, valid, confidence)
