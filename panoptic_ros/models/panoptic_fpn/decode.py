# SPDX-License-Identifier: Apache-2.0
"""Merging of instances and stuff by score.

Kirillov et al., Panoptic Segmentation, CVPR 2019, section 6.1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.parts.layers import upsample
from panoptic_ros.models.parts.mask_rcnn.masks import first_row, keep_uncovered, pasted, table
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections


def decode(
    found: Detections,
    masks: Tensor,
    semantic_logits: Tensor,
    thing_class: Tensor,
    is_thing: Tensor,
    stride: int,
    thresholds: Mapping[str, Tensor],
) -> SegmentTensors:
    """Merge the detections and semantic logits of one image.

    In order of their scores, instances take the cells of their masks that are still free; one
    that is mostly covered is removed. Each free cell whose best class is stuff then joins it.

    Args:
        found: K detections.
        masks: logits, (K, m, m).
        semantic_logits: at stride 4, (C, h, w).
        thing_class: class ids of the thing classes, (T,).
        is_thing: (C,) bool.
        stride: input pixels per cell of the result.
        thresholds: scalars by name, see `MaskRCNNConfig.thresholds`.
    """
    mask_logits = pasted(found, masks, semantic_logits, stride)
    prob = upsample(semantic_logits[None], stride)[0].softmax(dim=0)
    cell_prob, cell_class = prob.max(dim=0)  # (h, w)
    return merge(
        found,
        pasted(found, masks, semantic_logits, MAP_STRIDE) > 0,
        mask_logits,
        cell_class,
        cell_prob,
        ~is_thing.index_select(0, cell_class.flatten()).view_as(cell_class),
        thing_class,
        is_thing,
        stride,
        thresholds,
    )


def merge(
    found: Detections,
    coarse_mask: Tensor,
    mask_logits: Tensor,
    cell_class: Tensor,
    cell_prob: Tensor,
    is_stuff: Tensor,
    thing_class: Tensor,
    is_thing: Tensor,
    stride: int,
    thresholds: Mapping[str, Tensor],
) -> SegmentTensors:
    """Merge the masks of instances with a semantic map.

    Args:
        found: K detections.
        coarse_mask: masks on a grid that is the same for all strides; which instances are covered
            is decided there, (K, h', w') bool.
        mask_logits: (K, h, w).
        cell_class: class id of each cell, (h, w) integer.
        cell_prob: probability of this class, (h, w).
        is_stuff: cells whose class is stuff, (h, w) bool.
        thing_class: class ids of the thing classes, (T,).
        is_thing: (C,) bool.
        stride: input pixels per cell of the result.
        thresholds: scalars by name, see `MaskRCNNConfig.thresholds`.
    """
    keep = keep_uncovered(
        coarse_mask.to(mask_logits.dtype).flatten(1), found.alive, thresholds['overlap_threshold']
    )
    mask = (mask_logits > 0) & keep[:, None, None]
    row_map = first_row(mask)
    own_logit = mask_logits.gather(0, (row_map.long() - 1).clamp(min=0)[None])[0]
    confidence = torch.where(row_map > 0, own_logit.sigmoid(), cell_prob)
    row_map = torch.where(
        row_map > 0,
        row_map,
        torch.where(is_stuff, cell_class + (mask.shape[0] + 1), 0).to(torch.int32),
    )
    return table(
        row_map, found, keep, cell_prob, confidence, thing_class, is_thing, stride, thresholds
    )
