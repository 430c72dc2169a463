# SPDX-License-Identifier: Apache-2.0
"""Loss of Panoptic-DeepLab (Cheng et al., CVPR 2020, section 3.2).

L = weighted sum of the cross-entropy of the hardest pixels, the squared error of the centre
heatmap and the L1 error of the centre offsets. EINet and PISR build on these terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.config import NOT_NEGATIVE, POSITIVE, POSITIVE_SHARE, Rules
from panoptic_ros.models.panoptic_deeplab.network import PanopticDeepLab
from panoptic_ros.models.parts.precision import at_least_float32

from ..data.sample import Batch
from .parts.centers import CenterTargets, center_heatmap, center_targets
from .parts.checks import LossConfig, check_dims, check_shapes
from .parts.instances import Instance
from .parts.processes import shared_count
from .parts.terms import with_sum


@dataclass(frozen=True)
class PanopticDeepLabLossConfig(LossConfig):
    """Weights of the terms and parameters of the targets; lengths in network-input pixels."""

    rules = Rules(hard_pixels=POSITIVE_SHARE, sigma=POSITIVE, small_instance_area=NOT_NEGATIVE)

    semantic_weight: float = 1.0
    """Weight of the cross-entropy."""

    hard_pixels: float = 0.2
    """Part of all pixels, the hardest ones, that the cross-entropy averages over; 1 on COCO."""

    small_instance_weight: float = 3.0
    """Factor of the cross-entropy on pixels of small instances."""

    small_instance_area: float = 4096.0
    """Area in square pixels below which an instance is small."""

    center_weight: float = 200.0
    """Weight of the squared error of the heatmap."""

    sigma: float = 8.0
    """Standard deviation of the Gaussian at a centre, in pixels; 10 in Detectron2."""

    offset_weight: float = 0.01
    """Weight of the L1 error of the offsets."""


def panoptic_deeplab_loss(
    semantic_logits: Tensor,
    heatmap: Tensor,
    offset: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    stride: int,
    config: PanopticDeepLabLossConfig,
) -> dict[str, Tensor]:
    """Compute all terms for a batch.

    Half-precision maps are converted to float32.

    Args:
        semantic_logits: (B, C, h, w).
        heatmap: heatmap of the centres, (B, 1, h, w).
        offset: (dy, dx) to the centre, input px, (B, 2, h, w).
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64.
        is_thing: which classes are things, (C,) bool.
        stride: input px per cell of the maps.
        config: weights and parameters of the targets.

    Returns:
        Weighted scalars `semantic`, `center` and `offset`, and their sum `loss`. A term without
        pixels is 0 with zero gradient.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    return with_sum(
        terms_of_maps(
            [(semantic_logits, heatmap, offset)], class_map, instance_map, is_thing, stride, config
        )[0]
    )


def batch_loss(
    model: PanopticDeepLab, batch: Batch, stride: int, config: PanopticDeepLabLossConfig
) -> dict[str, Tensor]:
    """Compute `panoptic_deeplab_loss` for a batch: the `batch_loss` of the family."""
    labels, maps = batch.at_stride(stride), model.maps(batch.image, stride)
    return panoptic_deeplab_loss(
        *maps[:3], labels.class_map, labels.instance_map, model.is_thing, stride, config
    )


def terms_of_maps(
    predictions: Sequence[tuple[Tensor, Tensor, Tensor]],
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    stride: int,
    config: PanopticDeepLabLossConfig,
) -> list[dict[str, Tensor]]:
    """Compute the weighted terms of several predictions for the same labels.

    Args:
        predictions: semantic logits, heatmap and offset of each.
        class_map: see `panoptic_deeplab_loss`, like all other arguments.
        instance_map: (B, h, w) int64.
        is_thing: (C,) bool.
        stride: input px per cell of the maps.
        config: weights and parameters of the targets.

    Returns:
        The terms of each prediction, without their sum.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    for semantic_logits, heatmap, offset in predictions:
        check_maps(semantic_logits, heatmap, offset, class_map, instance_map, is_thing)
    batch, height, width = class_map.shape
    targets = targets_of(class_map, instance_map, is_thing, stride, config)
    count = len(targets.instances)
    drawn = center_heatmap(
        targets.instances,
        [config.sigma / stride] * count,
        [0] * count,
        (batch, 1, height, width),
        class_map.device,
    )
    with torch.autocast(class_map.device.type, enabled=False):
        return [
            {
                **dense_terms(semantic_logits, offset, targets, config),
                'center': config.center_weight
                * heatmap_mse(at_least_float32(heatmap), drawn, targets.known),
            }
            for semantic_logits, heatmap, offset in predictions
        ]


def targets_of(
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    stride: int,
    config: PanopticDeepLabLossConfig,
) -> CenterTargets:
    """Return the targets of a batch; for the arguments see `panoptic_deeplab_loss`."""

    def small(instance: Instance) -> bool:
        return instance.count * stride**2 < config.small_instance_area

    return center_targets(
        class_map,
        instance_map,
        is_thing,
        stride,
        lambda i: config.small_instance_weight if small(i) else 1.0,
    )


def dense_terms(
    semantic_logits: Tensor,
    offset: Tensor,
    targets: CenterTargets,
    config: PanopticDeepLabLossConfig,
) -> dict[str, Tensor]:
    """Compute the weighted terms `semantic` and `offset`."""
    return {
        'semantic': config.semantic_weight
        * hard_cross_entropy(
            at_least_float32(semantic_logits),
            targets.class_map,
            targets.weight,
            config.hard_pixels,
        ),
        'offset': config.offset_weight
        * offset_loss(at_least_float32(offset), targets.offset, targets.inside),
    }


def hard_cross_entropy(logits: Tensor, class_map: Tensor, weight: Tensor, part: float) -> Tensor:
    """Compute the mean of the largest weighted cross-entropies (bootstrapping of DeeperLab).

    Args:
        logits: (B, C, h, w).
        class_map: (B, h, w), VOID_ID for void.
        weight: weight of each pixel, (B, h, w).
        part: part of all pixels of the batch, void included, that are averaged over, above 0 and
            at most 1.

    Returns:
        Scalar: mean over the hardest pixels that are not void; 0 with zero gradient without any.
        The hardest are those of this process; with `part` 1 the mean is that of all processes.
    """
    check_dims(
        'hard_cross_entropy',
        'logits (B, C, h, w), class_map (B, h, w) and weight (B, h, w)',
        logits,
        class_map,
        weight,
    )
    cost = F.cross_entropy(logits, class_map, ignore_index=VOID_ID, reduction='none') * weight
    labelled = class_map != VOID_ID
    if part == 1:
        return cost.sum() / shared_count(labelled)
    number = max(int(part * cost.numel()), 1)
    hardest = cost.flatten().topk(number, sorted=False).values
    return hardest.sum() / labelled.sum().clamp(1, number)


def heatmap_mse(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Compute the squared error of a heatmap, summed over its M maps and averaged over pixels.

    Args:
        pred: (B, M, h, w).
        target: same shape.
        weight: weight of each pixel, (B, h, w).

    Returns:
        Scalar; 0 with zero gradient when no pixel counts.
    """
    check_dims(
        'heatmap_mse',
        'pred (B, M, h, w), target (B, M, h, w) and weight (B, h, w)',
        pred,
        target,
        weight,
    )
    return ((pred - target).square().sum(dim=1) * weight).sum() / shared_count(weight)


def offset_loss(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Compute the mean L1 distance between predicted and true offset to the instance centre.

    Args:
        pred: predicted offset (dy, dx), (B, 2, H, W).
        target: true offset, same units and shape.
        weight: 1 on pixels of instances, 0 on stuff, void and crowd, (B, H, W).

    Returns:
        Scalar, in the units of the offsets; 0 with zero gradient when no pixel counts.

    Example:
        >>> pred = torch.zeros(1, 2, 4, 4)
        >>> target = torch.ones(1, 2, 4, 4)  # |dy| + |dx| = 2 everywhere
        >>> offset_loss(pred, target, weight=torch.ones(1, 4, 4))
        tensor(2.)
    """
    check_dims(
        'offset_loss',
        'pred (B, 2, H, W), target (B, 2, H, W) and weight (B, H, W)',
        pred,
        target,
        weight,
    )
    error = (pred - target).abs().sum(dim=1)  # (B, H, W)
    return (error * weight).sum() / shared_count(weight)


def check_maps(
    semantic_logits: Tensor,
    heatmap: Tensor | None,
    offset: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
) -> None:
    """Raise ValueError unless all shapes fit the semantic logits (B, C, h, w)."""
    if semantic_logits.ndim != 4:
        raise ValueError(
            f'the loss expects semantic_logits (B, C, h, w), got {tuple(semantic_logits.shape)}'
        )
    batch, classes, *size = semantic_logits.shape
    check_shapes(
        'the loss',
        f'semantic_logits {tuple(semantic_logits.shape)}',
        (
            ('heatmap', heatmap, [(batch, 1, *size)]),
            ('offset', offset, [(batch, 2, *size)]),
            ('class_map', class_map, [(batch, *size)]),
            ('instance_map', instance_map, [(batch, *size)]),
            ('is_thing', is_thing, [(classes,)]),
        ),
    )
