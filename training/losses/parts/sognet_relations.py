# SPDX-License-Identifier: Apache-2.0
"""Targets and losses of the relations and the panoptic head of SOGNet.

Yang et al., SOGNet: Scene Overlap Graph Network for Panoptic Segmentation, AAAI 2020, equations 9
to 14.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.parts.precision import at_least_float32
from panoptic_ros.models.sognet.relation import significant_overlap

from .checks import check_dims

IGNORED = -100
"""Target of cells that the panoptic loss ignores."""


def covered(mask: Tensor, visible: Tensor, least: float) -> Tensor:
    """Return the approximate relations R*: which instance covers which where masks overlap.

    Of two instances, the one that is visible in more of the shared cells covers the other.

    Args:
        mask: whole masks of the instances, visible and hidden, 0 or 1, (N, P) float.
        visible: visible part of each mask, 0 or 1, (N, P) float.
        least: part of the smaller instance that two instances must share (inferred: as in R).

    Returns:
        (N, N) bool: [i, j] is True if i is covered by j.

    Raises:
        ValueError: if the shapes differ.
    """
    check_dims('covered', 'mask (N, P) and visible (N, P)', mask, visible)
    shown = mask @ visible.T  # [i, j]: cells of i that show j
    return significant_overlap(mask, least) & (shown > shown.T)


def relation_loss(relation: Tensor, target: Tensor, weak: bool) -> Tensor:
    """Compute the loss of the relations between the N instances of an image.

    `L_R = |O + O^T - R|^2 / N^2` (equation 12), or `L_R* = |O - R*|^2 / N^2` (equation 14).

    Args:
        relation: predicted relations O, (N, N).
        target: R (symmetric), or R* if weak, (N, N) bool.
        weak: whether to compute L_R* instead of L_R.

    Returns:
        Scalar; 0 for N = 0.
    """
    check_dims('relation_loss', 'relation (N, N) and target (N, N)', relation, target)
    relation = at_least_float32(relation)
    error = (relation if weak else relation + relation.T) - target.to(relation.dtype)
    return error.square().sum() / max(relation.numel(), 1)


def panoptic_target(
    class_map: Tensor,
    instance_map: Tensor,
    ids: Tensor,
    stuff_class: Tensor,
    dropped: Tensor | None = None,
) -> Tensor:
    """Return the true channel of each cell of one image among [stuff, Z_1 to Z_N, void].

    Args:
        class_map: class ids, VOID_ID for void, (h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (h, w) int64.
        ids: ids of the N instances in the order of their channels, (N,).
        stuff_class: class ids of the S stuff classes in the order of their channels, (S,).
        dropped: ids of instances that belong to the void channel S + N, (M,), or None.

    Returns:
        (h, w) int64; IGNORED on void, crowds and instances that are in neither list.

    Raises:
        ValueError: if the shapes of the maps differ.
    """
    check_dims(
        'panoptic_target', 'class_map (h, w) and instance_map (h, w)', class_map, instance_map
    )
    stuff, instances = len(stuff_class), len(ids)
    channel_of_class = class_map.new_full((VOID_ID + 1,), IGNORED)
    channel_of_class[stuff_class] = torch.arange(stuff, device=class_map.device)
    target = channel_of_class[class_map]
    known = class_map != VOID_ID
    for channel, i in enumerate(ids, start=stuff):
        target = torch.where(known & (instance_map == i), channel, target)
    if dropped is not None:
        target = torch.where(known & torch.isin(instance_map, dropped), stuff + instances, target)
    return target


def panoptic_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the mean cross-entropy of one image over the cells that are not ignored.

    Args:
        logits: logits of the L channels, (L, h, w).
        target: true channel of each cell, or IGNORED, (h, w) int64.

    Returns:
        Scalar; 0 with zero gradient if all cells are ignored.
    """
    check_dims('panoptic_loss', 'logits (L, h, w) and target (h, w)', logits, target)
    total = F.cross_entropy(
        at_least_float32(logits)[None], target[None], ignore_index=IGNORED, reduction='sum'
    )
    return total / (target != IGNORED).sum().clamp(min=1)
