# SPDX-License-Identifier: Apache-2.0
"""Loss of a region proposal network (Ren et al., Faster R-CNN, NeurIPS 2015, section 3.1.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher

from panoptic_ros.models.parts.mask_rcnn.proposals import ANCHOR_CODER
from panoptic_ros.models.parts.precision import at_least_float32

from .objects import Objects, match_boxes

POSITIVE_IOU, NEGATIVE_IOU = 0.7, 0.3
"""Anchors whose IoU with a ground-truth box reaches the first value hold an object, as do the best
anchors of each object. Other anchors below the second value hold none, the rest do not count."""

SMOOTH = 1 / 9
"""Errors up to this value are squared in the smooth L1 loss, larger ones count linearly."""


def anchor_targets(anchors: Tensor, objects: Objects, ignore: Tensor) -> tuple[Tensor, Tensor]:
    """Assign an object or background to each anchor of one image.

    Args:
        anchors: boxes x1, y1, x2, y2 in px, (n, 4).
        objects: objects of the image.
        ignore: pixels to ignore, see `void_or_crowd`, (H, W) bool.

    Returns:
        Targets (n,): 1 for an object, 0 for background, -1 if the anchor does not count; and the
        row of the object of each anchor (n,), which is only valid where the target is 1.
    """
    matcher = Matcher(POSITIVE_IOU, NEGATIVE_IOU, allow_low_quality_matches=True)
    target, match = match_boxes(anchors, objects, ignore, matcher)
    return target, match.clamp(min=0)


def rpn_loss(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    objects: Sequence[Objects],
    ignore: Tensor,
    samples: int,
) -> tuple[Tensor, Tensor]:
    """Compute the losses of objectness and boxes over a random sample of anchors.

    Up to half of the sampled anchors have an object.

    Args:
        logits: logits of objectness, (B, n).
        deltas: encoded boxes relative to the anchors, (B, n, 4).
        anchors: boxes x1, y1, x2, y2 in px, (n, 4).
        objects: objects of each image.
        ignore: pixels to ignore, see `void_or_crowd`, (B, H, W) bool.
        samples: number of sampled anchors per image.

    Returns:
        Mean binary cross-entropy over the sampled anchors; and smooth L1 error of the boxes of
        those with an object, divided by the number of all sampled anchors. Both are 0 without any.

    Raises:
        ValueError: if the shapes do not fit together.
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
