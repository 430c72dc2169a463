# SPDX-License-Identifier: Apache-2.0
"""The loss of a region proposal network (Ren et al., Faster R-CNN, NeurIPS 2015, sec. 3.1.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher
from torchvision.ops import box_iou

from panoptic_ros.models.parts.mask_rcnn.proposals import ANCHOR_CODER
from panoptic_ros.models.parts.precision import at_least_float32

from .objects import Objects, ignored_share

POSITIVE_IOU, NEGATIVE_IOU = 0.7, 0.3
"""Anchors above the first hold an object, below the second none; between, either will do."""

IGNORED_SHARE = 0.5
"""Boxes with more than this on void and crowds are no negatives (inferred)."""

SMOOTH = 1 / 9
"""Errors up to this count squared."""


def anchor_targets(anchors: Tensor, objects: Objects, ignore: Tensor) -> tuple[Tensor, Tensor]:
    """What each anchor of one image should say.

    Args:
        anchors: (n, 4) px.
        objects: of the image.
        ignore: see `void_or_crowd`, (H, W) bool.

    Returns:
        1 for an object, 0 for none, -1 for either, (n,); and the object of each anchor (n,),
        which means something where there is one.
    """
    if len(objects.box):
        match = Matcher(POSITIVE_IOU, NEGATIVE_IOU, allow_low_quality_matches=True)(
            box_iou(objects.box, anchors)
        )
    else:
        match = torch.full((len(anchors),), Matcher.BELOW_LOW_THRESHOLD, device=anchors.device)
    target = torch.where(match >= 0, 1, torch.where(match == Matcher.BELOW_LOW_THRESHOLD, 0, -1))
    target[(target == 0) & (ignored_share(anchors, ignore) > IGNORED_SHARE)] = -1
    return target, match.clamp(min=0)


def rpn_loss(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    objects: Sequence[Objects],
    ignore: Tensor,
    samples: int,
) -> tuple[Tensor, Tensor]:
    """Objectness and boxes of a sample of anchors, half of them with objects where there are.

    Args:
        logits: (B, n).
        deltas: (B, n, 4).
        anchors: (n, 4) px.
        objects: of each image.
        ignore: (B, H, W) bool.
        samples: anchors of each image.

    Returns:
        Mean cross-entropy over the sampled anchors, and smooth L1 error of the boxes of those
        with an object, over the number of sampled anchors; 0 without any.
    """
    if (
        logits.shape != deltas.shape[:2]
        or deltas.shape[1:] != anchors.shape
        or len(objects) != len(logits)
    ):
        raise ValueError(
            'rpn_loss expects logits (B, n), deltas (B, n, 4), anchors (n, 4) and '
            f'objects of B images, got {tuple(logits.shape)}, '
            f'{tuple(deltas.shape)}, {tuple(anchors.shape)} and {len(objects)}'
        )
    logits, deltas = at_least_float32(logits), at_least_float32(deltas)
    targets, matches = zip(
        *(anchor_targets(anchors, o, i) for o, i in zip(objects, ignore, strict=True)), strict=True
    )
    positive, negative = BalancedPositiveNegativeSampler(samples, 0.5)(list(targets))
    chosen = torch.stack(positive).bool()  # (B, n)
    sampled = chosen | torch.stack(negative).bool()
    wanted = torch.cat(
        [
            ANCHOR_CODER.encode_single(o.box[m[c]], anchors[c])
            for o, m, c in zip(objects, matches, chosen, strict=True)
        ]
    )
    count = sampled.sum().clamp(min=1)
    objectness = F.binary_cross_entropy_with_logits(
        logits[sampled], chosen[sampled].to(logits.dtype), reduction='sum'
    )
    box = F.smooth_l1_loss(deltas[chosen], wanted, beta=SMOOTH, reduction='sum')
    return objectness / count, box / count
