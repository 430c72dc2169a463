# SPDX-License-Identifier: Apache-2.0
"""Loss of Hierarchical Lovász Embeddings (Kerola et al., CVPR 2021, section 3.4).

L = L_seg + L_segmean + L_ins + gamma L_insvar + L_seed (equation 16). L_seg and L_segmean separate
the classes, L_ins and L_insvar the instances; L_seed trains the seed map, which rates each pixel
as a cluster centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.config import BETWEEN_0_AND_1, Rules, one_of
from panoptic_ros.models.hle.decode import bounded_sigma
from panoptic_ros.models.hle.network import HLE
from panoptic_ros.models.parts.precision import at_least_float32

from ..data.sample import Batch
from .parts.associative import group_mean, pull_loss, push_loss
from .parts.checks import LossConfig, check_shapes
from .parts.class_means import class_sums
from .parts.hle_kernel import kernel_loss, sharpness
from .parts.instances import Instance, find_instances, instance_mean, paint, thing_means
from .parts.label_maps import void_or_crowd
from .parts.lovasz import MIN_ERROR, lovasz_softmax
from .parts.processes import shared_count
from .parts.terms import mean_cross_entropy, with_sum


@dataclass(frozen=True)
class HLELossConfig(LossConfig):
    """Switches of the paper's Table 6 that concern the loss, and weights of its terms."""

    rules = Rules(
        loss=one_of('lovasz', 'ae', 'ce'),
        lovasz_classes=one_of('all', 'present'),
        instance_means=one_of('plain', 'unit'),
        variance_of=one_of('sigma', 'log_sigma'),
        min_error=BETWEEN_0_AND_1,
    )

    loss: Literal['lovasz', 'ae', 'ce'] = 'lovasz'
    """Loss of the embedding: Lovász, associative embedding or cross-entropy. With 'ae' the Lovász
    losses train the deviations only, with the embedding and the means held fixed (inferred): the
    paper does not say where its associative baseline gets the deviations that decoding uses, and
    the hinges, which are L1 distances, do not give them."""

    vq_means: bool = True
    """Whether class means follow the batch means (equation 15); else the gradient of L_seg."""

    lovasz_classes: Literal['all', 'present'] = 'all'
    """Classes that L_seg averages over: all as in equation 6, or those present in the batch, as in
    the code of the Lovász loss's authors."""

    instance_means: Literal['plain', 'unit'] = 'plain'
    """Mean embedding of an instance in L_ins: the plain mean of equation 10, which is shorter than
    1 where the embeddings differ, or that mean scaled to unit length, as the class means are."""

    variance_weight: float = 10.0
    """Weight of L_insvar, the paper's gamma."""

    variance_of: Literal['sigma', 'log_sigma'] = 'sigma'
    """Quantity that L_insvar makes uniform over an instance: the deviation sigma, or its logarithm
    as in Neven et al., CVPR 2019."""

    seed_thing_weight: float = 1.0
    """Weight of instance pixels in L_seed; Neven et al. use 10."""

    ae_instance_margins: tuple[float, float] = (0.25, 1.0)
    """Pull and push hinges between instances, L1 distance (loss 'ae')."""

    ae_class_margins: tuple[float, float] = (1.0, 2.5)
    """Pull and push hinges between classes, L1 distance (loss 'ae'). They are larger than those
    between instances, so that several instances fit inside a class."""

    min_error: float = MIN_ERROR
    """Errors up to this value are left out of the Lovász sort; this changes the loss by at most
    the same value."""

    clip_images: int = 1
    """Number of consecutive images of a batch that show one clip; equal to
    `data.train.clip_length`. A thing has one mean over all of them, so that its embedding
    stays the same over time. Must be 1 with loss 'ae'."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_images < 1 or (self.clip_images > 1 and self.loss == 'ae'):
            raise ValueError(
                f'loss.clip_images must be at least 1, and 1 with loss ae, got {self.clip_images}'
            )


def hle_loss(
    embedding: Tensor,
    log_sigma: Tensor,
    seed_logits: Tensor,
    semantic_logits: Tensor | None,
    spatial_log_sigma: Tensor,
    semantic_mean: Tensor,
    semantic_log_sigma: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    cell: float,
    config: HLELossConfig,
) -> dict[str, Tensor]:
    """Compute all terms of equation 16 for a batch.

    The first five arguments are the fields of the model's maps, in their order. Half-precision
    maps are converted to float32.

    Args:
        embedding: unit vectors, (B, D, h, w). In a split space each half of D has unit length.
        log_sigma: logarithm of the instance deviation, (B, h, w).
        seed_logits: seed map before the sigmoid, (B, h, w).
        semantic_logits: class logits of a separate branch, (B, C, h, w), or None.
        spatial_log_sigma: logarithm of the spatial deviation in position units, () or (B, h, w).
        semantic_mean: persistent class means, unit rows, (C, D). With (C, D / 2) the space is
            split: the first half of D separates classes, the second half instances.
        semantic_log_sigma: logarithm of the class deviations, (C,).
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64. A thing
            class with instance 0 is crowd: it counts for classes, not for instances and seeds.
        is_thing: which classes are things, (C,) bool.
        cell: side of a map cell in position units: stride / position_scale.
        config: switches and weights.

    Returns:
        Weighted scalars `seg`, `segmean`, `ins`, `insvar` and `seed`, and their sum `loss`. A term
        that is switched off or has no pixel is 0 with zero gradient.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    _check_shapes(
        embedding,
        log_sigma,
        seed_logits,
        semantic_logits,
        spatial_log_sigma,
        semantic_mean,
        semantic_log_sigma,
        class_map,
        instance_map,
        is_thing,
    )
    with torch.autocast(embedding.device.type, enabled=False):
        embedding, log_sigma, seed_logits, spatial_log_sigma, semantic_mean, semantic_log_sigma = (
            at_least_float32(x)
            for x in (
                embedding,
                log_sigma,
                seed_logits,
                spatial_log_sigma,
                semantic_mean,
                semantic_log_sigma,
            )
        )
        dim = semantic_mean.shape[1]
        for_classes, for_instances = embedding[:, :dim], embedding[:, -dim:]
        # DDP needs a gradient of every parameter, even if the terms that use it are switched off.
        zero = 0 * (
            embedding.sum()
            + spatial_log_sigma.sum()
            + semantic_mean.sum()
            + semantic_log_sigma.sum()
        )
        terms = {'seg': zero, 'segmean': zero}
        if semantic_logits is not None:
            terms['seg'] = zero + mean_cross_entropy(at_least_float32(semantic_logits), class_map)
        else:
            terms['seg'] = zero + _class_term(
                for_classes, semantic_mean, semantic_log_sigma, class_map, config
            )
            if config.vq_means:
                terms['segmean'] = segment_mean_loss(semantic_mean, for_classes, class_map)
        terms |= _instance_terms(
            for_instances,
            log_sigma,
            seed_logits,
            spatial_log_sigma,
            class_map,
            instance_map,
            is_thing,
            cell,
            config,
        )
        return with_sum(terms)


def batch_loss(model: HLE, batch: Batch, stride: int, config: HLELossConfig) -> dict[str, Tensor]:
    """Compute `hle_loss` for a batch: the `batch_loss` of the family, see `losses.registry`."""
    labels = batch.at_stride(stride)
    return hle_loss(
        *model.maps(batch.image, stride),
        model.semantic_mean,
        model.semantic_log_sigma,
        labels.class_map,
        labels.instance_map,
        model.is_thing,
        stride / model.config.position_scale,
        config,
    )


def _class_term(
    embedding: Tensor,
    semantic_mean: Tensor,
    semantic_log_sigma: Tensor,
    class_map: Tensor,
    config: HLELossConfig,
) -> Tensor:
    """Compute L_seg from the embedding (B, D, h, w)."""
    mean = semantic_mean.detach() if config.vq_means else semantic_mean
    associative = embedding.new_zeros(())
    if config.loss == 'ae':
        associative = _associative_classes(embedding, mean, class_map, config)
        embedding, mean = embedding.detach(), mean.detach()
    logits = psi_logits(embedding, mean, semantic_log_sigma)
    if config.loss == 'ce':
        return mean_cross_entropy(logits, class_map)
    return associative + lovasz_softmax(
        logits.softmax(dim=1), class_map, VOID_ID, config.lovasz_classes, config.min_error
    )


def _associative_classes(
    embedding: Tensor, mean: Tensor, class_map: Tensor, config: HLELossConfig
) -> Tensor:
    """Compute the associative embedding loss of the classes from the embedding (B, D, h, w).

    Embeddings are pulled to the class means (C, D), which decoding compares them with (equation
    10). With VQ these receive no gradient, and the means of the batch are pushed apart instead.
    """
    counts = class_map != VOID_ID
    pixels, group = embedding.movedim(1, -1)[counts], class_map[counts]
    pushed = group_mean(pixels, group, len(mean)) if config.vq_means else mean
    present = torch.bincount(group, minlength=len(mean)) > 0
    pull, push = config.ae_class_margins
    return pull_loss(pixels, group, mean, pull) + push_loss(pushed[present], push)


def psi_logits(embedding: Tensor, semantic_mean: Tensor, semantic_log_sigma: Tensor) -> Tensor:
    """Compute the logits of psi, equation 9: -d(e, mu_k) / (2 sigma_k^2), d the cosine distance.

    Args:
        embedding: unit vectors e, (B, D, h, w).
        semantic_mean: unit class means mu, (C, D).
        semantic_log_sigma: logarithm of the class deviations sigma, (C,).

    Returns:
        (B, C, h, w); psi is their softmax over C.
    """
    # One batched product; `@` would copy the maps to merge batch and pixels, at 4 times the cost.
    s = sharpness(bounded_sigma(semantic_log_sigma))[:, None]
    weight = (semantic_mean * s).expand(len(embedding), -1, -1)  # (B, C, D)
    logits = torch.baddbmm(-s, weight, embedding.flatten(2))
    return logits.unflatten(2, embedding.shape[2:])


def segment_mean_loss(semantic_mean: Tensor, embedding: Tensor, class_map: Tensor) -> Tensor:
    """Compute the squared distance of the class means to those of the batch, equation 15.

    Args:
        semantic_mean: persistent class means, (C, D).
        embedding: (B, D, h, w); receives no gradient.
        class_map: (B, h, w), VOID_ID for void. With torch.distributed, the means are over the
            batches of all processes.

    Returns:
        Scalar: mean over the classes that are present; 0 with zero gradient if none is.
    """
    total, count = class_sums(embedding, class_map, len(semantic_mean))
    batch_mean = total / count.clamp(min=1)[:, None]
    squared = (semantic_mean - batch_mean).square().sum(dim=1) * (count > 0)
    return squared.sum() / (count > 0).sum().clamp(min=1)


def _instance_terms(
    embedding: Tensor,
    log_sigma: Tensor,
    seed_logits: Tensor,
    spatial_log_sigma: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    cell: float,
    config: HLELossConfig,
) -> dict[str, Tensor]:
    """Compute L_ins, L_insvar and L_seed from the embedding (B, D, h, w)."""
    instance_map = instance_map.masked_fill(class_map == VOID_ID, 0)
    instances = find_instances(instance_map)
    inside = instance_map > 0
    counts = ~void_or_crowd(class_map, instance_map, is_thing)

    sigma = bounded_sigma(log_sigma)
    trained = embedding.detach() if config.loss == 'ae' else embedding
    mean = thing_means(trained, instances, config.clip_images, config.instance_means == 'unit')
    mean_sigma = instance_mean(sigma[:, None], instances)[:, 0]  # (L,)
    if spatial_log_sigma.ndim:
        mean_spatial = instance_mean(bounded_sigma(spatial_log_sigma)[:, None], instances)[:, 0]
    else:
        mean_spatial = bounded_sigma(spatial_log_sigma).expand(len(instances))
    ins, score = kernel_loss(
        trained,
        mean,
        sharpness(mean_sigma),
        sharpness(mean_spatial),
        _instance_weights(instances, embedding),
        instances,
        instance_map.masked_fill(~counts, -1),
        cell,
        'ce' if config.loss == 'ce' else 'lovasz',
        config.min_error,
    )
    if config.loss == 'ae':
        ins = ins + _associative_instances(embedding, instances, config.ae_instance_margins)
    values, means = sigma, mean_sigma
    if config.variance_of == 'log_sigma':
        values, means = log_sigma, instance_mean(log_sigma[:, None], instances)[:, 0]
    spread = (values - paint(means, instances, inside.shape)).square() * inside
    insvar = spread.sum() / shared_count(inside)
    return {
        'ins': ins,
        'insvar': config.variance_weight * insvar,
        'seed': seed_loss(seed_logits, score, inside, counts, config.seed_thing_weight),
    }


def seed_loss(
    seed_logits: Tensor, score: Tensor, instance: Tensor, counts: Tensor, thing_weight: float = 1.0
) -> Tensor:
    """Compute the squared error of the seed map, equation 13.

    Args:
        seed_logits: seed map before the sigmoid, (B, h, w).
        score: target value, (B, h, w): phi of each instance pixel for its own instance, 0 on
            stuff; receives no gradient.
        instance: pixels of instances, (B, h, w) bool.
        counts: pixels that count: instances and stuff, (B, h, w) bool.
        thing_weight: weight of instance pixels.

    Returns:
        Scalar: mean over the pixels that count; 0 if none does.
    """
    squared = (seed_logits.sigmoid() - score.detach()).square()
    weight = counts * torch.where(instance, thing_weight, 1.0)
    return (squared * weight).sum() / shared_count(counts)


def _associative_instances(
    embedding: Tensor, instances: Sequence[Instance], margins: tuple[float, float]
) -> Tensor:
    """Compute the associative embedding loss between the instances, mean over the images."""
    shape = embedding[:, 0].shape
    row_map = paint(torch.arange(1, len(instances) + 1, device=embedding.device), instances, shape)
    inside = row_map > 0
    pixels, group = embedding.movedim(1, -1)[inside], row_map[inside] - 1
    mean = group_mean(pixels, group, len(instances))
    image_of_row = torch.tensor([i.image for i in instances], device=embedding.device)
    image_of_pixel = image_of_row[group] if len(group) else group
    loss = embedding.sum() * 0
    for image in sorted({i.image for i in instances}):
        in_image = image_of_pixel == image
        loss = (
            loss
            + pull_loss(pixels[in_image], group[in_image], mean, margins[0])
            + push_loss(mean[image_of_row == image], margins[1])
        )
    return loss / shape[0]


def _instance_weights(instances: Sequence[Instance], like: Tensor) -> Tensor:
    """Return weights (L,) that average over the instances of an image, then over the images."""
    images = [i.image for i in instances]
    return like.new_tensor([1 / (images.count(i) * len(like)) for i in images])


def _check_shapes(
    embedding: Tensor,
    log_sigma: Tensor,
    seed_logits: Tensor,
    semantic_logits: Tensor | None,
    spatial_log_sigma: Tensor,
    semantic_mean: Tensor,
    semantic_log_sigma: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
) -> None:
    if embedding.ndim != 4 or semantic_mean.ndim != 2:
        raise ValueError(
            'hle_loss expects embedding (B, D, h, w) and semantic_mean (C, D), got '
            f'{tuple(embedding.shape)} and {tuple(semantic_mean.shape)}'
        )
    batch, dim, *size = embedding.shape
    classes, width = semantic_mean.shape
    if width != dim and 2 * width != dim:
        raise ValueError(
            f'hle_loss expects semantic_mean (C, {dim}), or (C, {dim / 2:g}) for a '
            f'split space, got {tuple(semantic_mean.shape)}'
        )
    each = (batch, *size)
    check_shapes(
        'hle_loss',
        f'embedding {tuple(embedding.shape)}',
        (
            ('log_sigma', log_sigma, [each]),
            ('seed_logits', seed_logits, [each]),
            ('semantic_logits', semantic_logits, [(batch, classes, *size)]),
            ('spatial_log_sigma', spatial_log_sigma, [(), each]),
            ('semantic_log_sigma', semantic_log_sigma, [(classes,)]),
            ('class_map', class_map, [each]),
            ('instance_map', instance_map, [each]),
            ('is_thing', is_thing, [(classes,)]),
        ),
    )
