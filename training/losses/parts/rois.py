# SPDX-License-Identifier: Apache-2.0
"""Losses of the second stage of Mask R-CNN (He et al., Mask R-CNN, ICCV 2017, section 3)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher

from panoptic_ros.models.parts.mask_rcnn.roi_heads import BOX_CODER, BoxOutputs, of_class
from panoptic_ros.models.parts.precision import at_least_float32

from .associative import group_mean, pull_loss, push_loss
from .checks import check_dims
from .objects import Objects, match_boxes

POSITIVE_IOU = 0.5
"""IoU with a ground-truth box from which on a box holds its object."""


class RoIs(NamedTuple):
    """Regions of interest: boxes of one image that the second stage learns from."""

    box: Tensor
    """Boxes x1, y1, x2, y2 in px, (R, 4)."""

    object: Tensor
    """Row in the objects of the image, -1 for background, (R,) int64."""


def sample_rois(
    proposals: Tensor, objects: Objects, ignore: Tensor, samples: int, positive_share: float
) -> RoIs:
    """Sample boxes at random from the proposals and the ground-truth boxes of one image.

    Args:
        proposals: boxes x1, y1, x2, y2 in px, (P, 4).
        objects: objects of the image.
        ignore: pixels to ignore, see `void_or_crowd`, (H, W) bool.
        samples: number of boxes; fewer if there are not enough.
        positive_share: largest part of the sampled boxes with an object.
    """
    boxes = torch.cat([proposals, objects.box])
    target, match = match_boxes(boxes, objects, ignore, Matcher(POSITIVE_IOU, POSITIVE_IOU))
    positive, negative = BalancedPositiveNegativeSampler(samples, positive_share)([target])
    chosen = (positive[0] | negative[0]).bool()
    return RoIs(boxes[chosen], match[chosen].clamp(min=-1))


def box_loss(
    outputs: BoxOutputs, rois: Sequence[RoIs], objects: Sequence[Objects]
) -> tuple[Tensor, Tensor]:
    """Compute the losses of the box head: classes and boxes.

    Args:
        outputs: outputs of the box head for all RoIs, image by image.
        rois: RoIs of each image.
        objects: objects of each image.

    Returns:
        Mean cross-entropy over the RoIs; and smooth L1 error of the boxes of RoIs with an object,
        divided by the number of all RoIs. Both are 0 without RoIs.

    Raises:
        ValueError: if the numbers of outputs, RoIs and images do not fit together.
    """
    counts = [len(r.object) for r in rois]
    if len(outputs.class_logits) != sum(counts) or len(objects) != len(rois):
        raise ValueError(
            f'box_loss expects outputs for {sum(counts)} RoIs and objects of '
            f'{len(rois)} images, got {len(outputs.class_logits)} and {len(objects)}'
        )
    logits, deltas = at_least_float32(outputs.class_logits), at_least_float32(outputs.deltas)
    which = torch.cat([r.object for r in rois])
    held = which >= 0
    thing = torch.cat(
        [o.thing[r.object[r.object >= 0]] for o, r in zip(objects, rois, strict=True)]
    )
    target = torch.zeros_like(which)
    target[held] = 1 + thing
    wanted = torch.cat(
        [
            BOX_CODER.encode_single(o.box[r.object[r.object >= 0]], r.box[r.object >= 0])
            for o, r in zip(objects, rois, strict=True)
        ]
    )
    count = max(len(which), 1)
    with torch.autocast(logits.device.type, enabled=False):  # autocast would round in of_class
        error = F.smooth_l1_loss(of_class(deltas[held], thing), wanted, reduction='sum')
    return F.cross_entropy(logits, target, reduction='sum') / count, error / count


def mask_loss(logits: Tensor, thing: Tensor, target: Tensor) -> Tensor:
    """Compute the mean binary cross-entropy of the predicted masks of the true classes.

    Args:
        logits: masks of all T thing classes, (R, T, m, m).
        thing: true class of each row, index among the thing classes, (R,) int64.
        target: true masks in [0, 1], (R, m, m).

    Returns:
        Scalar; 0 with zero gradient for R = 0.
    """
    check_dims(
        'mask_loss', 'logits (R, T, m, m), thing (R,) and target (R, m, m)', logits, thing, target
    )
    with torch.autocast(logits.device.type, enabled=False):  # autocast would round in of_class
        own = of_class(at_least_float32(logits), thing)
    total = F.binary_cross_entropy_with_logits(own, target, reduction='sum')
    return total / max(own.numel(), 1)


def box_embedding_loss(
    embedding: Tensor, rois: Sequence[RoIs], margins: tuple[float, float]
) -> Tensor:
    """Compute the loss that pulls RoIs of one object together and pushes objects apart (inferred).

    Args:
        embedding: embeddings of all RoIs, image by image, (R, D); scaled to unit length here.
        rois: RoIs of each image.
        margins: pull and push hinges, L1 distance.

    Returns:
        Scalar: sum of `pull_loss` and `push_loss` of each image, mean over the images; 0 without
        an object.
    """
    unit = F.normalize(at_least_float32(embedding), dim=1)
    loss = unit.sum() * 0
    for part, r in zip(unit.split([len(r.object) for r in rois]), rois, strict=True):
        held = r.object >= 0
        if held.any():
            _, group = torch.unique(r.object[held], return_inverse=True)
            mean = group_mean(part[held], group, int(group.max()) + 1)
            loss = (
                loss + pull_loss(part[held], group, mean, margins[0]) + push_loss(mean, margins[1])
            )
    return loss / len(rois)
