# SPDX-License-Identifier: Apache-2.0
"""The loss of PISR on MaskFormer: MaskFormer's own on final and initial heads (equation 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.parts.precision import at_least_float32
from panoptic_ros.models.parts.queries.decode import QueryMaps
from panoptic_ros.models.pisr.maskformer import PISRMaskFormer

from ..data.sample import Batch
from .parts.checks import check_not_negative
from .parts.label_maps import by_class, void_or_crowd
from .parts.processes import mean_over_processes
from .parts.terms import with_initial, with_sum


@dataclass(frozen=True)
class PISRMaskFormerLossConfig:
    """Weights, of the terms and of the costs by which queries are matched with segments."""

    class_weight: float = 1.0
    """Of the cross-entropy of the queries' classes."""

    mask_weight: float = 20.0
    """Of the focal loss of the masks."""

    dice_weight: float = 1.0
    """Of the Dice loss of the masks."""

    nothing_weight: float = 0.1
    """Of queries without a segment in the cross-entropy."""

    gamma: float = 0.5
    """Weight of the initial heads' terms (table B.3)."""

    def __post_init__(self) -> None:
        check_not_negative(
            self, 'gamma', 'class_weight', 'mask_weight', 'dice_weight', 'nothing_weight'
        )


def batch_loss(
    model: PISRMaskFormer, batch: Batch, stride: int, config: PISRMaskFormerLossConfig
) -> dict[str, Tensor]:
    """All terms for a batch; half precision is taken to float32 first.

    Deep supervision belongs to the first prediction, so gamma weighs it too (inferred).

    Args:
        model: what is trained.
        batch: with labels at full resolution.
        stride: input pixels per cell of the masks that queries learn.
        config: weights.

    Returns:
        Scalars `class`, `mask` and `dice`, with the block also `initial_class` and so on, with
        deep supervision `auxiliary` or `initial_auxiliary`, weighted, and their sum `loss`.
    """
    maps, labels = model.maps(batch.image), batch.at_stride(stride)
    masks, classes = segments_of(labels.class_map, labels.instance_map, model.is_thing)
    with torch.autocast(batch.image.device.type, enabled=False):
        earlier = [mask_terms(layer, masks, classes, config) for layer in maps.auxiliary]
        more = (
            {'auxiliary': torch.stack([x for layer in earlier for x in layer.values()]).sum()}
            if earlier
            else {}
        )
        final = mask_terms(maps.final, masks, classes, config)
        if maps.initial is None:
            return with_sum(final | more)
        initial = mask_terms(maps.initial, masks, classes, config) | more
        return with_sum(with_initial(final, initial, config.gamma))


def segments_of(
    class_map: Tensor, instance_map: Tensor, is_thing: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """What queries are to find: each stuff class and each instance of an image.

    Args:
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64. Crowd is
            no segment.
        is_thing: which classes are things, (C,) bool.

    Returns:
        Masks (L, h, w) float and class ids (L,) int64 of each image, by instance and class.
    """
    thing = by_class(is_thing, class_map, False)
    number = torch.where(thing, instance_map, 0) * (VOID_ID + 1) + class_map
    number = number.masked_fill(void_or_crowd(class_map, instance_map, is_thing), -1)
    several = [torch.unique(image[image >= 0]) for image in number]
    return [
        (image == those[:, None, None]).to(torch.float32)
        for image, those in zip(number, several, strict=True)
    ], [those % (VOID_ID + 1) for those in several]


def mask_terms(
    maps: QueryMaps, masks: list[Tensor], classes: list[Tensor], config: PISRMaskFormerLossConfig
) -> dict[str, Tensor]:
    """The library's loss of queries matched with segments, weighted.

    Args:
        maps: of a batch, (B, Q, ...).
        masks: of the segments of each image, (L, H, W); the queries' masks are resized to them.
        classes: of the segments of each image, (L,).
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
    # The library divides by the masks of this process alone, unless its own trainer runs.
    number = mean_over_processes(maps.mask_logits.new_tensor(float(sum(map(len, classes)))))
    criterion.get_num_masks = lambda class_labels, device: number.clamp(min=1)  # type: ignore
    found = criterion(
        at_least_float32(maps.mask_logits), at_least_float32(maps.class_logits), masks, classes
    )
    return {
        'class': config.class_weight * found['loss_cross_entropy'],
        'mask': config.mask_weight * found['loss_mask'],
        'dice': config.dice_weight * found['loss_dice'],
    }
