# SPDX-License-Identifier: Apache-2.0
"""Loss of Panoptic FPN (Kirillov et al., CVPR 2019, section 3.2).

L = weighted sum of the terms of Mask R-CNN (region proposals, classes, boxes, masks) and the
cross-entropy of the semantic branch. PISR and SOGNet build on these terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.models.config import MAP_STRIDE, NEVER, POSITIVE_SHARE, Rules, at_least
from panoptic_ros.models.panoptic_fpn.network import PanopticFPN
from panoptic_ros.models.parts.mask_rcnn.config import MaskRCNNConfig
from panoptic_ros.models.parts.mask_rcnn.network import MaskRCNN, RoIHeads, RoIMaps
from panoptic_ros.models.parts.mask_rcnn.roi_heads import pool_batch
from panoptic_ros.models.parts.precision import at_least_float32

from ..data.sample import Batch
from .parts.checks import LossConfig
from .parts.label_maps import void_or_crowd
from .parts.objects import Objects, find_objects, mask_targets
from .parts.rois import RoIs, box_embedding_loss, box_loss, mask_loss, sample_rois
from .parts.rpn import rpn_loss
from .parts.terms import mean_cross_entropy, with_sum


@dataclass(frozen=True)
class PanopticFPNLossConfig(LossConfig):
    """Sizes of the samples and weights of the terms."""

    rules = Rules(rpn_samples=at_least(1), roi_samples=at_least(1), roi_positive=POSITIVE_SHARE)

    rpn_samples: int = 256
    """Number of anchors per image that the region proposal network learns from."""

    roi_samples: int = 512
    """Number of boxes per image that the box head learns from."""

    roi_positive: float = 0.25
    """Largest part of these boxes that holds an object; the mask head learns from that part."""

    rpn_weight: float = 1.0
    """Weight of both terms of the region proposal network."""

    box_weight: float = 1.0
    """Weight of both terms of the box head, classes and boxes."""

    mask_weight: float = 1.0
    """Weight of the masks."""

    semantic_weight: float = 1.0
    """Weight of the semantic branch; the paper uses 1 on Cityscapes and 0.5 on COCO."""

    embedding_weight: float = 0.0
    """Weight of the loss that pulls the embeddings of the boxes of an object together and pushes
    those of different objects apart (inferred)."""

    embedding_margins: tuple[float, float] = (0.25, 2.0)
    """Pull and push hinges between unit vectors, L1 distance."""


def batch_loss(
    model: PanopticFPN, batch: Batch, stride: int, config: PanopticFPNLossConfig
) -> dict[str, Tensor]:
    """Compute all terms for a batch: the `batch_loss` of the family, see `losses.registry`.

    Args:
        model: network whose heads run on the boxes that are sampled here.
        batch: images, with labels at full resolution.
        stride: input px per cell of the semantic loss.
        config: sizes of the samples and weights.

    Returns:
        Weighted scalars `semantic`, `rpn`, `rpn_box`, `class`, `box`, `mask` and `embedding`, and
        their sum `loss`. A term that is switched off or has no sample is 0 with zero gradient.
    """
    maps = model.maps(batch.image)
    objects = find_objects(batch.class_map, batch.instance_map, model.is_thing, batch.hidden_map)
    return with_sum(
        {
            'semantic': config.semantic_weight
            * semantic_loss(maps.semantic_logits, batch.at_stride(stride).class_map, stride),
            **roi_terms(model, maps, batch, objects, config),
        }
    )


def semantic_loss(logits: Tensor, class_map: Tensor, stride: int) -> Tensor:
    """Compute the mean cross-entropy of the semantic branch.

    Args:
        logits: semantic logits at stride 4, (B, C, h, w); resized to the class map.
        class_map: class ids, VOID_ID for void, (B, h * 4 / stride, w * 4 / stride) int64.
        stride: input px per cell of the class map.

    Returns:
        Scalar; 0 with zero gradient if all cells are void.
    """
    logits = at_least_float32(logits)
    if stride != MAP_STRIDE:
        logits = F.interpolate(logits, scale_factor=MAP_STRIDE / stride, mode='bilinear')
    return mean_cross_entropy(logits, class_map)


def roi_terms(
    model: MaskRCNN,
    maps: RoIMaps,
    batch: Batch,
    objects: Sequence[Objects],
    config: PanopticFPNLossConfig,
) -> dict[str, Tensor]:
    """Compute the weighted terms of Mask R-CNN: those of `proposal_terms` and `head_terms`."""
    terms, rois = proposal_terms(model, maps, batch, objects, config)
    return terms | head_terms(model, model.config, maps.levels[:4], batch, objects, rois, config)


def proposal_terms(
    model: MaskRCNN,
    maps: RoIMaps,
    batch: Batch,
    objects: Sequence[Objects],
    config: PanopticFPNLossConfig,
) -> tuple[dict[str, Tensor], list[RoIs]]:
    """Compute the weighted terms `rpn` and `rpn_box`, and sample proposals of each image."""
    anchors = model.anchors(maps)
    ignore = void_or_crowd(batch.class_map, batch.instance_map, model.is_thing)
    rpn, rpn_box = rpn_loss(
        torch.cat(maps.logits, dim=1),
        torch.cat(maps.deltas, dim=1),
        torch.cat(anchors),
        objects,
        ignore,
        config.rpn_samples,
    )
    rois = []
    for i, (image_objects, image_ignore) in enumerate(zip(objects, ignore, strict=True)):
        with torch.no_grad():
            boxes, logits = model.propose(maps, anchors, i)
        exists = logits > NEVER / 2  # the other rows hold no proposal
        rois.append(
            sample_rois(
                boxes[exists], image_objects, image_ignore, config.roi_samples, config.roi_positive
            )
        )
    return {'rpn': config.rpn_weight * rpn, 'rpn_box': config.rpn_weight * rpn_box}, rois


def head_terms(
    heads: RoIHeads,
    net: MaskRCNNConfig,
    levels: Sequence[Tensor],
    batch: Batch,
    objects: Sequence[Objects],
    rois: Sequence[RoIs],
    config: PanopticFPNLossConfig,
) -> dict[str, Tensor]:
    """Compute the weighted terms `class`, `box`, `mask` and `embedding` on sampled boxes."""
    outputs = heads.box_head(
        pool_batch(levels, [r.box for r in rois], net.box_pool, net.canonical_size)
    )
    classes, box = box_loss(outputs, rois, objects)
    embedding = box_embedding_loss(outputs.embedding, rois, config.embedding_margins)
    return {
        'class': config.box_weight * classes,
        'box': config.box_weight * box,
        'mask': config.mask_weight * _mask_term(heads, net, levels, batch, objects, rois),
        'embedding': config.embedding_weight * embedding,
    }


def _mask_term(
    heads: RoIHeads,
    net: MaskRCNNConfig,
    levels: Sequence[Tensor],
    batch: Batch,
    objects: Sequence[Objects],
    rois: Sequence[RoIs],
) -> Tensor:
    """Compute the loss of the masks of the RoIs that hold an object."""
    size = net.mask_size
    held = [(r.box[r.object >= 0], r.object[r.object >= 0]) for r in rois]
    target = torch.cat(
        [
            mask_targets(image, o.id[which], box, size, hidden)
            for image, hidden, o, (box, which) in zip(
                batch.instance_map, batch.hidden_maps(), objects, held, strict=True
            )
        ]
    )
    thing = torch.cat([o.thing[which] for o, (_, which) in zip(objects, held, strict=True)])
    logits = heads.mask_head(
        pool_batch(levels, [box for box, _ in held], size // 2, net.canonical_size)
    )
    return mask_loss(logits, thing, target)
