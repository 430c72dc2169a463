# SPDX-License-Identifier: Apache-2.0
"""Loss of PISR on MaskFormer: MaskFormer's loss on the final and the initial heads (equation 1).

MaskFormer: Cheng et al., Per-Pixel Classification is Not All You Need for Semantic Segmentation,
NeurIPS 2021. Its matching and its loss are those of the library transformers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.config import NOT_NEGATIVE, Rules
from panoptic_ros.models.parts.precision import at_least_float32
from panoptic_ros.models.parts.queries.decode import QueryMaps
from panoptic_ros.models.pisr.maskformer import PISRMaskFormer

from ..data.sample import Batch
from .parts.checks import LossConfig
from .parts.label_maps import by_class, void_or_crowd
from .parts.processes import mean_over_processes
from .parts.terms import with_initial, with_sum


@dataclass(frozen=True)
class PISRMaskFormerLossConfig(LossConfig):
    """Weights of the terms, and of the costs by which queries are matched with segments."""

    rules = Rules(gamma=NOT_NEGATIVE)

    class_weight: float = 1.0
    """Weight of the cross-entropy of the queries' classes."""

    mask_weight: float = 20.0
    """Weight of the focal loss of the masks."""

    dice_weight: float = 1.0
    """Weight of the Dice loss of the masks."""

    nothing_weight: float = 0.1
    """Weight of queries without a segment in the cross-entropy."""

    gamma: float = 0.5
    """Weight of the terms of the initial heads (Table B.3)."""


def batch_loss(
    model: PISRMaskFormer, batch: Batch, stride: int, config: PISRMaskFormerLossConfig
) -> dict[str, Tensor]:
    """Compute all terms for a batch: the `batch_loss` of the family, see `losses.registry`.

    Half-precision maps are converted to float32. Deep supervision concerns the first prediction,
    so with the block gamma weights it too (inferred).

    Args:
        model: network to train.
        batch: images, with labels at full resolution.
        stride: input px per cell of the masks that the queries learn.
        config: weights.

    Returns:
        Weighted scalars `class`, `mask` and `dice`; with the block also `initial_class`,
        `initial_mask` and `initial_dice`; with deep supervision also `auxiliary`, or
        `initial_auxiliary` with the block; and their sum `loss`.
    """
    maps, labels = model.maps(batch.image), batch.at_stride(stride)
    masks, classes = segments_of(labels.class_map, labels.instance_map, model.is_thing)
    with torch.autocast(batch.image.device.type, enabled=False):
        layers = [mask_terms(layer, masks, classes, config) for layer in maps.auxiliary]
        auxiliary = (
            {'auxiliary': torch.stack([x for layer in layers for x in layer.values()]).sum()}
            if layers
            else {}
        )
        final = mask_terms(maps.final, masks, classes, config)
        if maps.initial is None:
            return with_sum(final | auxiliary)
        initial = mask_terms(maps.initial, masks, classes, config) | auxiliary
        return with_sum(with_initial(final, initial, config.gamma))


def segments_of(
    class_map: Tensor, instance_map: Tensor, is_thing: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the segments that the queries learn to find: stuff classes and instances.

    Args:
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64. Crowds
            are not segments.
        is_thing: which classes are things, (C,) bool.

    Returns:
        Masks (L, h, w) float32 and class ids (L,) int64 of each image, ordered by instance, then
        by class.
    """
    thing = by_class(is_thing, class_map, False)
    number = torch.where(thing, instance_map, 0) * (VOID_ID + 1) + class_map
    number = number.masked_fill(void_or_crowd(class_map, instance_map, is_thing), -1)
    segments = [torch.unique(image[image >= 0]) for image in number]
    return [
        (image == found[:, None, None]).to(torch.float32)
        for image, found in zip(number, segments, strict=True)
    ], [found % (VOID_ID + 1) for found in segments]


def mask_terms(
    maps: QueryMaps, masks: list[Tensor], classes: list[Tensor], config: PISRMaskFormerLossConfig
) -> dict[str, Tensor]:
    """Compute the weighted loss of queries that are matched with segments.

    Args:
        maps: predictions for a batch, (B, Q, ...).
        masks: masks of the segments of each image, (L, H, W); the predicted masks are resized to
            their size.
        classes: class ids of the segments of each image, (L,).
        config: weights.

    Returns:
        Scalars `class`, `mask` and `dice`; the last two are 0 without a segment.
    """
    from transformers.models.maskformer.modeling_maskformer import (
        MaskFormerHungarianMatcher,
        MaskFormerLoss,
    )

    matcher = MaskFormerHungarianMatcher(
        config.class_weight, config.mask_weight, config.dice_weight
    )
    criterion = MaskFormerLoss(
        maps.class_logits.shape[2] - 1, matcher, {}, config.nothing_weight
    ).to(maps.class_logits.device)
    # Outside its own trainer, the library divides by the number of masks of this process alone.
    count = mean_over_processes(maps.mask_logits.new_tensor(float(sum(map(len, classes)))))
    criterion.get_num_masks = lambda class_labels, device: count.clamp(min=1)  # type: ignore
    losses = criterion(
        at_least_float32(maps.mask_logits), at_least_float32(maps.class_logits), masks, classes
    )
    return {
        'class': config.class_weight * losses['loss_cross_entropy'],
        'mask': config.mask_weight * losses['loss_mask'],
        'dice': config.dice_weight * losses['loss_dice'],
    }
