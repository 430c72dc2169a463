# SPDX-License-Identifier: Apache-2.0
"""Loss of CIAE: category-aware and instance-aware embedding, and detector.

Gao et al., Learning Category- and Instance-Aware Pixel Embedding for Fast Panoptic Segmentation,
2020: section III and, for the detector, section IV-A.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.ciae.network import CIAE
from panoptic_ros.models.config import BETWEEN_0_AND_1, NOT_NEGATIVE, SHARE, Rules, at_least
from panoptic_ros.models.parts.fcos import by_location
from panoptic_ros.models.parts.precision import at_least_float32

from ..data.sample import Batch
from .parts.checks import LossConfig, check_shapes
from .parts.ciae_memory import memory_loss, memory_momentum, update_memory
from .parts.class_means import class_sums
from .parts.fcos import fcos_loss, fcos_targets
from .parts.instances import Instance, find_instances, paint, thing_means
from .parts.label_maps import by_class
from .parts.processes import shared_count
from .parts.terms import mean_cross_entropy, with_sum


@dataclass(frozen=True)
class CIAELossConfig(LossConfig):
    """Switches of the paper's tables that concern the loss, and weights of its terms."""

    rules = Rules(
        margin=('lie in 0 to below 2', lambda value: 0 <= value < 2),
        hardest=at_least(1),
        log_floor=BETWEEN_0_AND_1,
        box_scale=NOT_NEGATIVE,
        clip_images=at_least(1),
        memory_momentum=SHARE,
        level_limits=(
            'be four rising numbers',
            lambda values: len(values) == 4 and list(values) == sorted(values),
        ),
    )

    margin: float = 0.15
    """Margin of the triplet losses (Table IX)."""

    hardest: int = 5
    """Number of hardest queries that count for a pixel, the paper's K."""

    log_floor: float = 1e-6
    """Lower bound of the argument of the logarithm (inferred)."""

    cae_weight: float = 1.0
    """Weight of the category-aware term; 0 gives the last row of Table IV."""

    iae_weight: float = 2.0
    """Weight of the instance-aware term, the paper's alpha."""

    thing_weight: float = 5.0
    """Weight of thing pixels in the instance-aware term."""

    box_scale: float = 1.5
    """Factor by which the box of an instance is enlarged; pixels outside the enlarged box have
    similarity 0 to the instance. 0 switches this filter off (Table VIII)."""

    memory_momentum: float = 0.9999
    """Momentum of the memory at the first step (Table VII); it rises to 1 at the end."""

    clip_images: int = 1
    """Number of consecutive images of a batch that show one clip; equal to
    `data.train.clip_length`. A thing has one query, its mean over all of them, so that its
    embedding stays the same over time."""

    level_limits: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    """Largest distance from a location to a side of its box, in input pixels, on P3 to P6
    (inferred, from FCOS)."""

    focal_alpha: float = 0.25
    """Weight of objects in the focal loss (inferred, from FCOS)."""

    focal_gamma: float = 2.0
    """Exponent of the focal loss (inferred, from FCOS)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.box_scale < 1:
            raise ValueError(
                'loss.box_scale must be 0 (no filter) or at least 1 (smaller boxes '
                f'leave out pixels of the instance itself), got {self.box_scale}'
            )


def ciae_loss(
    embedding: Tensor,
    semantic_logits: Tensor | None,
    memory: Tensor,
    memory_of_class: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
    config: CIAELossConfig,
) -> dict[str, Tensor]:
    """Compute the terms of the embedding, equations 10 to 12.

    Half-precision maps are converted to float32. With `semantic_logits`, these learn the stuff
    classes and the embedding only separates the instances of an image (inferred; first row of
    Table III). Both embedding terms are divided by the number of labelled pixels.

    Args:
        embedding: P before its normalisation, (B, D, h, w).
        semantic_logits: logits of the stuff classes and, last, of all things together,
            (B, C_st + 1, h, w), or None.
        memory: M_{t-1}, unit rows, those of the stuff classes first, (M, D); receives no
            gradient.
        memory_of_class: row of each class in the memory, (C,) int64.
        class_map: class ids, VOID_ID for void, (B, h, w) int64.
        instance_map: 1 and up on things, 0 on stuff, void and crowd, (B, h, w) int64. A thing
            class with instance 0 is crowd: it counts for categories, not for instances.
        is_thing: which classes are things, (C,) bool.
        config: switches and weights.

    Returns:
        Weighted scalars `cae` and `iae`, and with `semantic_logits` also `semantic`. A term that
        is switched off or has no pixel is 0 with zero gradient.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    _check_shapes(
        embedding, semantic_logits, memory, memory_of_class, class_map, instance_map, is_thing
    )
    with torch.autocast(embedding.device.type, enabled=False):
        embedding = at_least_float32(embedding)
        memory = memory.detach().to(embedding.dtype)
        num_stuff = int((~is_thing).sum())
        labelled = class_map != VOID_ID
        row = memory_rows(class_map, memory_of_class)
        terms = {}
        if semantic_logits is not None:
            target = row.clamp(max=num_stuff).masked_fill(~labelled, VOID_ID)
            terms['semantic'] = mean_cross_entropy(semantic_logits.to(embedding.dtype), target)
            memory, num_stuff = memory[:0], 0

        instances = find_instances(instance_map.masked_fill(~labelled, 0))
        by_image = [[i for i in instances if i.image == image] for image in range(len(row))]
        query = [num_stuff + n for found in by_image for n in range(len(found))]
        own = paint(row.new_tensor(query) + 1, instances, row.shape)  # index of the query plus 1
        weight = (own > 0) * config.thing_weight
        if len(memory):
            own = torch.where(own > 0, own, row + 1)
            weight = weight + (row < num_stuff)
        mean = thing_means(embedding, instances, config.clip_images)  # (L, D)
        means = mean.split([len(found) for found in by_image])

        unit = F.normalize(embedding, dim=1).movedim(1, 3)  # (B, h, w, D)
        cae, iae = embedding.sum() * 0, embedding.sum() * 0
        for image, found in enumerate(by_image):
            pixels = unit[image]
            if len(memory) and config.cae_weight:
                cae = cae + _weighted(pixels @ memory.T, row[image], labelled[image], config)
            if num_stuff or found:
                similarity = pixels @ torch.cat([memory[:num_stuff], means[image]]).T  # (h, w, Q)
                if config.box_scale and found:
                    near = _inside_boxes(found, row.shape[1:], config.box_scale).to(pixels.device)
                    similarity = similarity * F.pad(near, (num_stuff, 0), value=True)
                iae = iae + _weighted(similarity, own[image] - 1, weight[image], config)
        divisor = shared_count(labelled)
        terms['cae'] = config.cae_weight * cae / divisor
        terms['iae'] = config.iae_weight * iae / divisor
    return terms


def batch_loss(
    model: CIAE, batch: Batch, stride: int, config: CIAELossConfig
) -> dict[str, Tensor]:
    """Compute `ciae_loss` and the terms of the detector for a batch.

    In training mode this also updates the memory. It is the `batch_loss` of the family, see
    `losses.registry`.
    """
    maps, labels = model.maps(batch.image, stride), batch.at_stride(stride)
    # A copy of the memory, because it is updated in place below, before the backward pass.
    terms = ciae_loss(
        maps.embedding,
        maps.semantic_logits,
        model.memory.clone(),
        model.memory_of_class,
        labels.class_map,
        labels.instance_map,
        model.is_thing,
        config,
    )
    detections = maps.detections
    targets = fcos_targets(
        batch.class_map,
        batch.instance_map,
        model.channel_of_class,
        [(x.shape[2], x.shape[3]) for x in detections.box],
        config.level_limits,
    )
    terms |= fcos_loss(
        by_location(detections.class_logits),
        by_location(detections.box),
        by_location(detections.centerness_logits)[..., 0],
        targets,
        config.focal_alpha,
        config.focal_gamma,
    )
    if model.training:
        rows = memory_rows(labels.class_map, model.memory_of_class)
        update_memory(
            model.memory,
            *class_sums(maps.embedding, rows, len(model.memory)),
            memory_momentum(model.progress, config.memory_momentum),
        )
    return with_sum(terms)


def memory_rows(class_map: Tensor, memory_of_class: Tensor) -> Tensor:
    """Return the row of the memory that each pixel belongs to, VOID_ID for void.

    Args:
        class_map: class ids, VOID_ID for void, int64.
        memory_of_class: row of each class in the memory, (C,) int64.
    """
    return by_class(memory_of_class, class_map, VOID_ID)


def _weighted(similarity: Tensor, own: Tensor, weight: Tensor, config: CIAELossConfig) -> Tensor:
    """Sum the weighted losses of the pixels of an image: (h, w, Q), (h, w) and (h, w)."""
    counts = weight > 0
    loss = memory_loss(
        similarity.flatten(0, 1),
        own.masked_fill(~counts, 0).flatten(),
        config.margin,
        config.hardest,
        config.log_floor,
    )
    return (loss * weight.flatten()).sum()


def _inside_boxes(instances: Sequence[Instance], shape: Sequence[int], scale: float) -> Tensor:
    """Return the cells whose centre lies in each instance's enlarged box, (h, w, L) bool."""
    inside = []
    for axis, size in enumerate(shape):
        span = [(i.rows, i.columns)[axis] for i in instances]
        middle = torch.tensor([(s.start + s.stop) / 2 for s in span])
        half = torch.tensor([(s.stop - s.start) / 2 * scale for s in span])
        inside.append((torch.arange(size)[:, None] + 0.5 - middle).abs() <= half)  # (size, L)
    return inside[0][:, None] & inside[1]


def _check_shapes(
    embedding: Tensor,
    semantic_logits: Tensor | None,
    memory: Tensor,
    memory_of_class: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    is_thing: Tensor,
) -> None:
    if embedding.ndim != 4 or memory.ndim != 2 or memory.shape[1] != embedding.shape[1]:
        raise ValueError(
            'ciae_loss expects embedding (B, D, h, w) and memory (M, D), got '
            f'{tuple(embedding.shape)} and {tuple(memory.shape)}'
        )
    batch, _, *size = embedding.shape
    stuff = int((~is_thing).sum())
    check_shapes(
        'ciae_loss',
        f'embedding {tuple(embedding.shape)}',
        (
            ('semantic_logits', semantic_logits, [(batch, stuff + 1, *size)]),
            ('class_map', class_map, [(batch, *size)]),
            ('instance_map', instance_map, [(batch, *size)]),
            ('is_thing', is_thing, [tuple(memory_of_class.shape)]),
        ),
    )
