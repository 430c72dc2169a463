# SPDX-License-Identifier: Apache-2.0
"""Loss of SOGNet (Yang et al., AAAI 2020).

The terms of Panoptic FPN, the cross-entropy of the panoptic head and the loss of the relations
between overlapping instances. The panoptic head and the weights of the shared terms follow UPSNet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

from panoptic_ros.models.config import MAP_STRIDE, SHARE_BELOW_1, Rules
from panoptic_ros.models.parts.mask_rcnn.masks import inside, paste
from panoptic_ros.models.parts.mask_rcnn.network import RoIMaps
from panoptic_ros.models.parts.mask_rcnn.roi_heads import of_class, pool_batch
from panoptic_ros.models.parts.precision import at_least_float32
from panoptic_ros.models.sognet.network import SOGNet
from panoptic_ros.models.sognet.relation import (
    instance_logits,
    instance_semantics,
    resolve,
    significant_overlap,
    void_logits,
)

from ..data.sample import Batch
from .panoptic_fpn import PanopticFPNLossConfig, roi_terms, semantic_loss
from .parts.objects import Objects, find_objects, mask_targets, whole_masks
from .parts.sognet_relations import covered, panoptic_loss, panoptic_target, relation_loss
from .parts.terms import mean_cross_entropy, with_sum


@dataclass(frozen=True)
class SOGNetLossConfig(PanopticFPNLossConfig):
    """Sizes of the samples and weights of the terms.

    UPSNet and SOGNet use `semantic_weight` 0.2 on COCO.
    """

    rules = Rules(void_share=SHARE_BELOW_1)

    panoptic_weight: float = 0.5
    """Weight of the cross-entropy of the panoptic head: 0.5 on Cityscapes, 0.1 on COCO."""

    relation_weight: float = 1.0
    """Weight of the relation loss, L_R or L_R*."""

    weak: bool = False
    """Whether the relation loss is L_R* (equation 14), whose target says which instance covers the
    other; else L_R (equation 12), whose target only says that they overlap."""

    semantic_roi_weight: float = 0.0
    """Weight of the cross-entropy of the semantic branch in true boxes; 0.04 on COCO (UPSNet)."""

    void_share: float = 0.3
    """Part of the instances that are left out of the panoptic head and the relations, to teach the
    void channel (UPSNet); each is left out with this probability (inferred). Only for models with
    a void channel."""


def batch_loss(
    model: SOGNet, batch: Batch, stride: int, config: SOGNetLossConfig
) -> dict[str, Tensor]:
    """Compute all terms for a batch: the `batch_loss` of the family, see `losses.registry`.

    Args:
        model: network whose heads run on the boxes that are sampled here.
        batch: images, with labels at full resolution.
        stride: input px per cell of the semantic loss; the panoptic head learns at stride 4.
        config: sizes of the samples and weights.

    Returns:
        The weighted terms of Panoptic FPN, `semantic_roi`, `panoptic` and `relation`, and their
        sum `loss`. A term that is switched off or has no sample is 0 with zero gradient.
    """
    maps = model.maps(batch.image)
    objects = find_objects(batch.class_map, batch.instance_map, model.is_thing, batch.hidden_map)
    panoptic, relation = _panoptic_terms(model, maps, batch, objects, config)
    return with_sum(
        {
            'semantic': config.semantic_weight
            * semantic_loss(maps.semantic_logits, batch.at_stride(stride).class_map, stride),
            'semantic_roi': config.semantic_roi_weight
            * semantic_roi_loss(
                maps.semantic_logits, batch.class_map, objects, model.config.mask_size
            ),
            **roi_terms(model, maps, batch, objects, config),
            'panoptic': config.panoptic_weight * panoptic,
            'relation': config.relation_weight * relation,
        }
    )


def semantic_roi_loss(
    logits: Tensor, class_map: Tensor, objects: Sequence[Objects], size: int
) -> Tensor:
    """Compute the mean cross-entropy of the semantic branch inside true boxes.

    Args:
        logits: semantic logits at stride 4, (B, C, h, w).
        class_map: at full resolution, VOID_ID for void, (B, H, W) int64.
        objects: objects of each image.
        size: bins along a side; each box is resampled to size x size.

    Returns:
        Scalar; 0 with zero gradient without an object.
    """
    pooled = roi_align(
        at_least_float32(logits), [o.box for o in objects], size, 1 / MAP_STRIDE, aligned=True
    )
    labels = [_nearest(image, o.box, size) for image, o in zip(class_map, objects, strict=True)]
    return mean_cross_entropy(pooled, torch.cat(labels))


def _nearest(labels: Tensor, box: Tensor, size: int) -> Tensor:
    """Return the labels (H, W) at the centres of the bins of each box (N, 4): (N, size, size)."""
    step = (torch.arange(size, device=box.device) + 0.5) / size
    x, y = ((box[:, i, None] + (box[:, i + 2] - box[:, i])[:, None] * step).long() for i in (0, 1))
    return labels[y[:, :, None], x[:, None, :]]


def _panoptic_terms(
    model: SOGNet,
    maps: RoIMaps,
    batch: Batch,
    objects: Sequence[Objects],
    config: SOGNetLossConfig,
) -> tuple[Tensor, Tensor]:
    """Compute the panoptic and the relation loss on true boxes, each the mean over the images."""
    net = model.config
    pooled = pool_batch(
        maps.levels[:4], [o.box for o in objects], net.mask_size // 2, net.canonical_size
    )
    masks = at_least_float32(model.mask_head(pooled))
    with torch.autocast(masks.device.type, enabled=False):
        mask_logits = of_class(masks, torch.cat([o.thing for o in objects]))
        semantic_logits = at_least_float32(maps.semantic_logits)
        return _terms_of_logits(model, semantic_logits, mask_logits, batch, objects, config)


def _terms_of_logits(
    model: SOGNet,
    semantic_logits: Tensor,
    mask_logits: Tensor,
    batch: Batch,
    objects: Sequence[Objects],
    config: SOGNetLossConfig,
) -> tuple[Tensor, Tensor]:
    """Compute both from semantic logits (B, C, h, w) and the objects' mask logits (N, m, m)."""
    net, labels = model.config, batch.at_stride(MAP_STRIDE)
    # DDP needs a gradient of every parameter, even if no objects overlap.
    panoptic = relation = mask_logits.sum() * 0 + sum(
        p.sum() * 0 for p in ([] if model.relation is None else model.relation.parameters())
    )
    each = mask_logits.split([len(o.box) for o in objects])
    for i, (found, masks) in enumerate(zip(objects, each, strict=True)):
        semantic = semantic_logits[i]
        size = (semantic.shape[1], semantic.shape[2])
        dropped = None
        if net.void:  # before the overlaps: an instance that is left out covers no other
            keep = torch.rand(len(found.id), device=found.id.device) >= config.void_share
            dropped = found.id[~keep]
            found, masks = Objects(*(x[keep] for x in found)), masks[keep]
        resolved = paste(masks, found.box / MAP_STRIDE, size)
        if model.relation is not None:
            features = mask_targets(
                batch.instance_map[i], found.id, found.box, net.mask_size, batch.hidden_maps()[i]
            )
            whole = whole_masks(labels.instance_map[i], found.id, labels.hidden_maps()[i])
            visible = whole_masks(labels.instance_map[i], found.id)
            resolved, term = resolve_true(
                model, found, resolved, features, whole, visible, config.weak
            )
            relation = relation + term
        within = inside(found.box / MAP_STRIDE, size)
        semantics = instance_semantics(semantic, model.thing_class[found.thing], within)
        channels = [
            semantic[model.stuff_class],
            instance_logits(semantics, resolved, net.panoptic_head, net.semantic_factor),
        ]
        if net.void:
            channels.append(void_logits(semantic, model.thing_class, semantics))
        target = panoptic_target(
            labels.class_map[i], labels.instance_map[i], found.id, model.stuff_class, dropped
        )
        panoptic = panoptic + panoptic_loss(torch.cat(channels), target)
    return panoptic / len(objects), relation / len(objects)


def resolve_true(
    model: SOGNet,
    found: Objects,
    logits: Tensor,
    features: Tensor,
    whole: Tensor,
    visible: Tensor,
    weak: bool,
) -> tuple[Tensor, Tensor]:
    """Resolve the overlaps between the true objects of one image by the predicted relations.

    Args:
        model: network whose relation module predicts.
        found: N objects.
        logits: logits of their masks, (N, h, w).
        features: their masks in their boxes, (N, m, m).
        whole: their cells, visible or hidden, (N, h, w) bool.
        visible: their visible cells, (N, h, w) bool.
        weak: whether to compute L_R* instead of L_R.

    Returns:
        Logits (N, h, w) with overlaps resolved, and the relation loss over the objects that
        overlap another.
    """
    pairs, own = true_pairs(model, found, whole, visible)
    chosen = torch.nonzero(pairs.any(dim=1))[:, 0]
    if not len(chosen):
        return logits, logits.new_zeros(())
    assert model.relation is not None
    relation = at_least_float32(
        model.relation(found.box[chosen], found.thing[chosen], features[chosen])
    )
    target = (own if weak else pairs)[chosen][:, chosen]
    return logits.index_copy(0, chosen, resolve(logits[chosen], relation)), relation_loss(
        relation, target, weak
    )


def true_pairs(
    model: SOGNet, found: Objects, whole: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the true relations between N objects: R (overlaps) and R* (is covered by).

    With `overlap_of: box` of the model, boxes at stride 4 replace the whole masks.

    Args:
        model: network whose configuration defines overlaps.
        found: N objects.
        whole: their cells, visible or hidden, (N, h, w) bool.
        visible: their visible cells, (N, h, w) bool.

    Returns:
        R and R*, (N, N) bool both.
    """
    config, size = model.config, (whole.shape[1], whole.shape[2])
    if config.overlap_of == 'box':
        whole = inside(found.box / MAP_STRIDE, size)
    mask, shown = whole.flatten(1).float(), visible.flatten(1).float()
    overlaps = significant_overlap(mask, config.least_overlap)
    return overlaps, covered(mask, shown, config.least_overlap)
