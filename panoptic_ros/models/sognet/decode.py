# SPDX-License-Identifier: Apache-2.0
"""Decoding of SOGNet as tensor code that exports; values and clean-ups follow UPSNet."""

from collections.abc import Mapping

import torch
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE, NEVER
from panoptic_ros.models.parts.layers import upsample
from panoptic_ros.models.parts.mask_rcnn.masks import inside, keep_uncovered, pasted, table
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections
from panoptic_ros.models.parts.segments import row_masks
from panoptic_ros.models.sognet.config import SOGNetConfig
from panoptic_ros.models.sognet.relation import (
    RelationModule,
    instance_logits,
    instance_semantics,
    resolve,
    resolve_pairwise,
    significant_overlap,
    void_logits,
)

STUFF_SHARE = 0.5
"""Part of an instance's cells on one stuff class from which on it joins that class."""


def decode(
    found: Detections,
    masks: Tensor,
    semantic_logits: Tensor,
    relation_module: RelationModule | None,
    thing_class: Tensor,
    stuff_class: Tensor,
    is_thing: Tensor,
    config: SOGNetConfig,
    thresholds: Mapping[str, Tensor],
) -> tuple[SegmentTensors, Tensor]:
    """Decode the detections and semantic logits of one image.

    Instances are restricted to their boxes (inferred): outside, the equations yield a logit of 0.
    With `trim`, cells that a better instance of the same class holds leave a mask before overlaps
    are resolved; the mask in the box, from which relations are predicted, stays whole (inferred).

    Args:
        found: K detections.
        masks: logits, (K, m, m).
        semantic_logits: at stride 4, (C, h, w).
        relation_module: predicts which instance covers which; None resolves no overlaps.
        thing_class: class ids of the thing classes, (T,).
        stuff_class: class ids of the stuff classes, (S,).
        is_thing: (C,) bool.
        config: supplies the switches and the stride of the result.
        thresholds: scalars by name, see `SOGNetConfig.thresholds`.

    Returns:
        The segments, and O (K, K).
    """
    instances, stride = masks.shape[0], config.stride
    coarse = (pasted(found, masks, semantic_logits, MAP_STRIDE) > 0).to(masks.dtype).flatten(1)
    things = torch.arange(thing_class.shape[0], device=masks.device)
    keep = keep_uncovered(
        coarse,
        found.alive,
        thresholds['overlap_threshold'],
        (found.thing[:, None] == things).to(masks.dtype),
    )
    row = torch.arange(instances, device=masks.device)
    better = (found.thing[:, None] == found.thing) & (row[:, None] > row) & keep
    if config.trim:
        coarse = torch.where(held(coarse, better), 0.0, coarse)
    if relation_module is None:
        relation = masks.new_zeros(instances, instances)
    else:
        relation = relation_module(found.box, found.thing, masks.sigmoid())
        if config.overlap_of == 'box':
            size = (semantic_logits.shape[1], semantic_logits.shape[2])
            coarse = inside(found.box / MAP_STRIDE, size).to(masks.dtype).flatten(1)
        relation = relation * partners(coarse * keep[:, None], config.least_overlap)

    logits = upsample(semantic_logits[None], stride)[0]  # (C, h, w)
    size = (logits.shape[1], logits.shape[2])
    raw = pasted(found, masks, semantic_logits, stride)
    if config.trim:
        raw = torch.where(
            held((raw > 0).to(raw.dtype).flatten(1), better).view_as(raw), NEVER, raw
        )
    resolved = (
        raw
        if relation_module is None
        else (resolve if config.relation_infer == 'matrix' else resolve_pairwise)(raw, relation)
    )
    # A logit of 0 outside a box would win where all stuff logits are below 0.
    within = inside(found.box / stride, size) & keep[:, None, None]
    semantics = instance_semantics(logits, thing_class.index_select(0, found.thing), within)
    scores = torch.where(
        within,
        instance_logits(semantics, resolved, config.panoptic_head, config.semantic_factor),
        NEVER,
    )
    channels = [scores, logits.index_select(0, stuff_class)]
    if config.void:
        channels.append(void_logits(logits, thing_class, semantics))
    # Row of each channel plus 1: instances in order, stuff by class, 0 for void.
    row_of_channel = torch.cat(
        [
            torch.arange(1, instances + 1, device=masks.device),
            stuff_class + (instances + 1),
            stuff_class.new_zeros(1),
        ]
    )
    confidence, best = torch.cat(channels).softmax(dim=0).max(dim=0)
    row_map = row_of_channel.index_select(0, best.flatten()).view_as(best).to(torch.int32)

    cell_prob, cell_class = logits.softmax(dim=0).max(dim=0)
    if config.relabel:
        row_map = relabel(row_map, instances, cell_class, is_thing)
    return table(
        row_map, found, keep, cell_prob, confidence, thing_class, is_thing, stride, thresholds
    ), relation


def held(mask: Tensor, better: Tensor) -> Tensor:
    """Find the cells that are in the mask of a better instance, for each instance.

    Args:
        mask: 0 or 1, (K, N) float.
        better: [i, j] is True if j takes cells from i, (K, K) bool.

    Returns:
        (K, N) bool.
    """
    return better.to(mask.dtype) @ mask > 0


def partners(mask: Tensor, least: float) -> Tensor:
    """Find the pairs of instances that both overlap another one; only these can be related.

    Args:
        mask: 0 or 1, (K, N) float.
        least: see `significant_overlap`.

    Returns:
        (K, K) 0 or 1.
    """
    enters = significant_overlap(mask, least).to(mask.dtype).amax(dim=1)
    return enters[:, None] * enters


def relabel(row_map: Tensor, instances: int, cell_class: Tensor, is_thing: Tensor) -> Tensor:
    """Assign instances that mostly lie on one stuff class to that class.

    Args:
        row_map: row of each cell plus 1, 0 for void, (h, w) int32.
        instances: K, the number of instance rows.
        cell_class: best class of each cell, (h, w).
        is_thing: (C,) bool.
    """
    classes = is_thing.shape[0]
    column = torch.arange(classes, device=row_map.device)
    one_hot = (cell_class.view(-1, 1) == column).to(torch.float32)  # (h * w, C)
    count = torch.cat(
        [mask.flatten(1).to(torch.float32) @ one_hot for mask in row_masks(row_map, instances)]
    )  # (K, C)
    most, majority = count.max(dim=1)
    given = (
        ~is_thing.index_select(0, majority) & (most > 0) & (most >= STUFF_SHARE * count.sum(dim=1))
    )
    own = torch.arange(1, instances + classes + 1, device=row_map.device)
    new = torch.cat(
        [
            own.new_zeros(1),
            torch.where(given, majority + (instances + 1), own[:instances]),
            own[instances:],
        ]
    )
    return new.index_select(0, row_map.flatten()).view_as(row_map).to(torch.int32)
