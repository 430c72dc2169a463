# SPDX-License-Identifier: Apache-2.0
"""Merging by score (Kirillov et al., Panoptic Segmentation, CVPR 2019, section 6.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.masks import first_row, keep_uncovered, paste
from panoptic_ros.models.roi_heads import Detections
from panoptic_ros.models.segments import measure, to_segments

FUSION_STRIDE = 4
"""Input pixels per cell where covered parts are counted: the cost does not follow the output."""


def decode(
    found: Detections,
    masks: Tensor,
    semantic_logits: Tensor,
    thing_class: Tensor,
    is_thing: Tensor,
    stride: int,
    thresholds: Mapping[str, Tensor],
) -> SegmentTensors:
    """Detections and semantic logits of one image to segments.

    Instances go down by score and take the cells of their mask that are still free; one that is
    mostly covered goes. Then each free cell whose best class is stuff takes it.

    Args:
        found: K detections.
        masks: logits, (K, m, m).
        semantic_logits: at stride 4, (C, h, w).
        thing_class: class ids of the thing classes, (T,).
        is_thing: (C,) bool.
        stride: input pixels per cell of the result.
        thresholds: scalars by name, see `PanopticFPN.thresholds`.
    """
    coarse = (pasted(found, masks, semantic_logits, FUSION_STRIDE) > 0).to(masks.dtype)
    everyone = torch.ones_like(found.alive)[:, None] & torch.ones_like(found.alive)
    keep = keep_uncovered(
        coarse.flatten(1), found.alive, everyone, thresholds['overlap_threshold']
    )
    mask = (pasted(found, masks, semantic_logits, stride) > 0) & keep[:, None, None]
    row_map, prob = first_row(mask), upsample(semantic_logits, stride).softmax(dim=0)
    cell_prob, cell_class = prob.max(dim=0)  # (h, w)
    is_stuff = ~is_thing.index_select(0, cell_class.flatten()).view_as(cell_class)
    row_map = torch.where(
        row_map > 0,
        row_map,
        torch.where(is_stuff, cell_class + (mask.shape[0] + 1), 0).to(torch.int32),
    )
    return table(row_map, found, keep, cell_prob, thing_class, is_thing, stride, thresholds)


def pasted(found: Detections, masks: Tensor, semantic_logits: Tensor, stride: int) -> Tensor:
    """Mask logits on the image at a stride, (K, h, w)."""
    height, width = (n * FUSION_STRIDE // stride for n in semantic_logits.shape[1:])
    return paste(masks, found.box / stride, (height, width))


def upsample(logits: Tensor, stride: int) -> Tensor:
    """(C, h, w) from stride 4 to `stride`."""
    if stride == FUSION_STRIDE:
        return logits
    return F.interpolate(logits[None], scale_factor=FUSION_STRIDE / stride, mode='bilinear')[0]


def table(
    row_map: Tensor,
    found: Detections,
    keep: Tensor,
    cell_prob: Tensor,
    thing_class: Tensor,
    is_thing: Tensor,
    stride: int,
    thresholds: Mapping[str, Tensor],
) -> SegmentTensors:
    """Measures rows 0 to K - 1, the instances, and one row per class for stuff.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        found: K detections.
        keep: those that are in the map, (K,) bool.
        cell_prob: probability of each cell's class, (h, w); its mean is a stuff segment's score.
        thing_class: class ids of the thing classes, (T,).
        is_thing: (C,) bool.
        stride: input pixels per cell.
        thresholds: `min_area` and `min_stuff_area`.
    """
    instances, classes = found.box.shape[0], is_thing.shape[0]
    measures = measure(row_map, instances + classes, cell_prob)
    px = measures.area * stride**2
    valid = (measures.area > 0) & torch.cat(
        [
            keep & (px[:instances] >= thresholds['min_area']),
            ~is_thing & (px[instances:] >= thresholds['min_stuff_area']),
        ]
    )
    return to_segments(
        row_map,
        measures,
        valid=valid,
        class_id=torch.cat(
            [
                thing_class.index_select(0, found.thing),
                torch.arange(classes, device=row_map.device),
            ]
        ),
        score=torch.cat([found.score, measures.mean[instances:]]),
        embedding=F.pad(found.embedding, (0, 0, 0, classes)),
    )  # stuff has no box: zeros
