# SPDX-License-Identifier: Apache-2.0
"""Loss of EINet: class-aware heatmaps with kernels of adaptive size, and the class dictionary.

Equation and table numbers are those of the paper and its supplement. The semantic and the offset
term and all weights are those of Panoptic-DeepLab (inferred).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.config import BETWEEN_0_AND_1, MAP_STRIDE, SHARE_BELOW_1, Rules, one_of
from panoptic_ros.models.einet.network import EINet
from panoptic_ros.models.parts.precision import at_least_float32

from ..data.sample import Batch
from .panoptic_deeplab import (
    PanopticDeepLabLossConfig,
    check_maps,
    dense_terms,
    heatmap_mse,
    targets_of,
)
from .parts.centers import center_heatmap
from .parts.checks import check_dims, check_shapes
from .parts.class_means import class_sums
from .parts.instances import Instance, find_instances
from .parts.label_maps import void_or_crowd
from .parts.processes import shared_count
from .parts.terms import with_sum


@dataclass(frozen=True)
class EINetLossConfig(PanopticDeepLabLossConfig):
    """Weights of the terms and parameters of the targets; lengths in network-input pixels."""

    rules = Rules(
        momentum=SHARE_BELOW_1,
        min_overlap=BETWEEN_0_AND_1,
        kernel_radius=one_of('released', 'exact'),
    )

    momentum: float = 0.9
    """Weight of the present class centre in its update at each step (equation 1, Table 1)."""

    adaptive_kernel: bool = True
    """Whether the width of a Gaussian follows the size of its instance (Table 2); else it is
    `sigma`."""

    kernel_radius: str = 'released'
    """Radius of an adaptive Gaussian, see `corner_radius`: `released` as in CenterNet's code,
    to which the paper refers; `exact` solves the equations, whose radii are 0.3 times as long."""

    min_overlap: float = 0.7
    """Least IoU of a box with the same box whose corners are moved by the radius of its
    Gaussian."""

    focal_weight: float = 1.0
    """Weight of the heatmap term if it is a focal loss (inferred)."""


def einet_loss(
    semantic_logits: Tensor,
    heatmap: Tensor,
    offset: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    stride: int,
    heatmap_kind: str,
    config: EINetLossConfig,
    coarse: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Compute all terms for a batch.

    Half-precision maps are converted to float32.

    Args:
        semantic_logits: (B, C, h, w).
        heatmap: one map per thing class, in the order of the classes, at stride 4, logits for
            `focal`, (B, M, H/4, W/4).
        offset: (dy, dx) to the centre, input px, (B, 2, h, w).
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64.
        is_thing: which classes are things, (C,) bool.
        stride: input px per cell of all maps except the heatmap.
        heatmap_kind: loss of the heatmap, `mse` or `focal`.
        config: weights and parameters of the targets.
        coarse: class map and instance map at stride 4 for the heatmap; required unless `stride` is
            4.

    Returns:
        Weighted scalars `semantic`, `offset` and `center`, and their sum `loss`. A term without
        pixels is 0 with zero gradient.

    Raises:
        ValueError: if the shapes do not fit together, or `coarse` is missing.
    """
    if coarse is None and stride != MAP_STRIDE:
        raise ValueError(f'einet_loss at stride {stride} needs the labels at stride {MAP_STRIDE}')
    check_maps(semantic_logits, None, offset, class_map, instance_map, is_thing)
    targets = targets_of(class_map, instance_map, is_thing, stride, config)
    with torch.autocast(class_map.device.type, enabled=False):
        return with_sum(
            {
                **dense_terms(semantic_logits, offset, targets, config),
                'center': center_term(
                    at_least_float32(heatmap),
                    *(coarse or (class_map, instance_map)),
                    is_thing,
                    heatmap_kind,
                    config,
                ),
            }
        )


def batch_loss(
    model: EINet, batch: Batch, stride: int, config: EINetLossConfig
) -> dict[str, Tensor]:
    """Compute `einet_loss` for a batch.

    In training mode this also updates the dictionary. It is the `batch_loss` of the family, see
    `losses.registry`.
    """
    labels, coarse = batch.at_stride(stride), batch.at_stride(MAP_STRIDE)
    semantic, instance = model.embeddings(batch.image)
    if model.training and model.config.interaction in ('s2i', 'both'):
        update_dictionary(model.dictionary, semantic, coarse.class_map, config.momentum)
    maps = model.maps_of(semantic, instance, stride)
    return einet_loss(
        *maps[:3],
        labels.class_map,
        labels.instance_map,
        model.is_thing,
        stride,
        model.config.heatmap_loss,
        config,
        (coarse.class_map, coarse.instance_map),
    )


def center_term(
    heatmap: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    kind: str,
    config: EINetLossConfig,
) -> Tensor:
    """Compute the weighted error of the heatmaps, drawn at stride 4 about mass centres (inferred).

    Args:
        heatmap: (B, M, H/4, W/4), logits for `focal`.
        class_map: class ids at stride 4, VOID_ID for void, (B, H/4, W/4) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, same shape.
        is_thing: which classes are things, (C,) bool.
        kind: `mse` (summed over the maps, averaged over pixels: inferred) or `focal`.
        config: weights and parameters of the targets.

    Returns:
        Scalar.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    batch, height, width = class_map.shape
    shape = (batch, int(is_thing.sum()), height, width)
    check_shapes(
        'the loss', f'class_map {tuple(class_map.shape)}', [('heatmap', heatmap, [shape])]
    )
    instance_map = instance_map.masked_fill(class_map == VOID_ID, 0)
    target = _heatmaps(find_instances(instance_map), class_map, is_thing, shape, config)
    known = ~void_or_crowd(class_map, instance_map, is_thing)
    if kind == 'focal':
        return config.focal_weight * penalty_reduced_focal(heatmap, target, known)
    return config.center_weight * heatmap_mse(heatmap, target, known)


def _heatmaps(
    instances: list[Instance],
    class_map: Tensor,
    is_thing: Tensor,
    shape: tuple[int, ...],
    config: EINetLossConfig,
) -> Tensor:
    """Return target heatmaps (B, M, H/4, W/4), each instance drawn in the map of its class."""
    sigmas = [config.sigma / MAP_STRIDE] * len(instances)
    if config.adaptive_kernel:
        radius = released_radius if config.kernel_radius == 'released' else corner_radius
        sizes = [(i.rows.stop - i.rows.start, i.columns.stop - i.columns.start) for i in instances]
        sigmas = [(2 * radius(*size, config.min_overlap) + 1) / 6 for size in sizes]
    channel = (is_thing.cumsum(0) - 1).tolist()
    # An instance on a stuff class, a contradiction in the labels, has no heatmap.
    thing = is_thing.tolist()
    classes = [int(class_map[i.box][i.mask][0]) for i in instances]
    drawn = [n for n, class_id in enumerate(classes) if thing[class_id]]
    return center_heatmap(
        [instances[n] for n in drawn],
        [sigmas[n] for n in drawn],
        [channel[classes[n]] for n in drawn],
        shape,
        class_map.device,
    )


def corner_radius(height: float, width: float, min_overlap: float) -> float:
    """Return the distance r by which both corners of a box may move so that its IoU is at least t.

    It is the smallest of three cases (CornerNet, adopted by CenterNet):

    - both corners move the same way: (h - r)(w - r) / (2hw - (h - r)(w - r)) = t;
    - the box shrinks at both corners: (h - 2r)(w - 2r) / hw = t;
    - the box grows at both corners: hw / ((h + 2r)(w + 2r)) = t.

    Args:
        height: h, in any unit.
        width: w, same unit.
        min_overlap: t, above 0 and below 1.

    Returns:
        r, same unit.
    """
    side, area, t = height + width, height * width, min_overlap
    moved = _small_root(1, -side, area * (1 - t) / (1 + t))
    shrunk = _small_root(4, -2 * side, (1 - t) * area)
    grown = (-2 * t * side + math.sqrt((2 * t * side) ** 2 + 16 * t * (1 - t) * area)) / (8 * t)
    return min(moved, shrunk, grown)


def released_radius(height: float, width: float, min_overlap: float) -> int:
    """Return the radius that CenterNet's released code computes (`gaussian_radius`).

    It divides the roots of the three equations of `corner_radius` by 2 in place of twice their
    leading coefficient, and takes the larger roots of the first two. The smallest of the three is
    then always that of the box that grows, 4t times its exact value: 2.8 times for t = 0.7.

    Args:
        height: h, in cells.
        width: w, cells.
        min_overlap: t, above 0 and below 1.

    Returns:
        The radius, rounded down to whole cells.
    """
    side, area, t = height + width, height * width, min_overlap
    return int(math.sqrt((t * side) ** 2 + 4 * t * (1 - t) * area) - t * side)


def _small_root(a: float, b: float, c: float) -> float:
    """Return the smaller root of a x^2 + b x + c."""
    return (-b - math.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)


def penalty_reduced_focal(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Compute the focal loss of heatmaps (Law and Deng, CornerNet, ECCV 2018, equation 1).

    With alpha 2 and beta 4, a cell costs `-(1 - p)^2 log p` where the target is 1, elsewhere
    `-(1 - target)^4 p^2 log(1 - p)`. The sum is divided by the number of centres.

    Args:
        logits: logits of p, (B, M, h, w).
        target: in [0, 1], 1 at centres, (B, M, h, w).
        weight: weight of each pixel, (B, h, w).

    Returns:
        Scalar; 0 with zero gradient when no pixel counts.
    """
    check_dims(
        'penalty_reduced_focal',
        'logits (B, M, h, w), target (B, M, h, w) and weight (B, h, w)',
        logits,
        target,
        weight,
    )
    prob = logits.sigmoid()
    at_center = target == 1
    cost = torch.where(
        at_center,
        (1 - prob).square() * F.logsigmoid(logits),
        (1 - target) ** 4 * prob.square() * F.logsigmoid(-logits),
    )
    counts = weight[:, None].to(cost.dtype)
    return -(cost * counts).sum() / shared_count(at_center * counts)


@torch.no_grad()
def update_dictionary(
    dictionary: Tensor, embedding: Tensor, class_map: Tensor, momentum: float
) -> None:
    """Move the class centres towards the class means V of a batch: Q <- m Q + (1 - m) V, in place.

    This is equation 1 of the supplement, for the classes in the batch. The row of a class that has
    not occurred before is zero; it takes the mean unchanged (inferred). With torch.distributed,
    the means are over the batches of all processes.

    Args:
        dictionary: Q, (C, D).
        embedding: semantic embedding, (B, D, h, w).
        class_map: (B, h, w), VOID_ID for void.
        momentum: m.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    check_dims(
        'update_dictionary',
        'dictionary (C, D), embedding (B, D, h, w) and class_map (B, h, w)',
        dictionary,
        embedding,
        class_map,
    )
    total, count = class_sums(embedding, class_map, len(dictionary))
    mean = total / count.clamp(min=1)[:, None]
    known = dictionary.abs().sum(dim=1, keepdim=True) > 0
    moved = torch.where(known, torch.lerp(mean.to(dictionary.dtype), dictionary, momentum), mean)
    dictionary.copy_(torch.where(count[:, None] > 0, moved, dictionary))
