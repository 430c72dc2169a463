# SPDX-License-Identifier: Apache-2.0
"""The loss of SOGNet (Yang et al., AAAI 2020; weights of the parts it shares after UPSNet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

from panoptic_ros.models.config import MAP_STRIDE
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
    """Samples and weights; UPSNet and SOGNet take `semantic_weight` 0.2 on COCO."""

    panoptic_weight: float = 0.5
    """Of the panoptic head's cross-entropy: 0.5 on Cityscapes, 0.1 on COCO."""

    relation_weight: float = 1.0
    """Of L_R or L_R*."""

    weak: bool = False
    """L_R* (equation 14), which is told who covers whom, in place of L_R (equation 12)."""

    semantic_roi_weight: float = 0.0
    """Of the semantic branch's cross-entropy on true boxes; 0.04 on COCO (UPSNet)."""

    void_share: float = 0.3
    """Where the model has a void channel: part of the instances that the panoptic head and the
    relations are not told of (UPSNet); each is left out with this probability (inferred)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.void_share < 1:
            raise ValueError(f'loss.void_share must lie in 0 to below 1, got {self.void_share}')


def batch_loss(
    model: SOGNet, batch: Batch, stride: int, config: SOGNetLossConfig
) -> dict[str, Tensor]:
    """All terms for a batch.

    Args:
        model: whose heads are run on the boxes that are sampled here.
        batch: with labels at full resolution.
        stride: input pixels per cell of the semantic loss; the panoptic head learns at 4.
        config: samples and weights.

    Returns:
        The terms of Panoptic FPN's loss, `semantic_roi`, `panoptic` and `relation`, weighted,
        and their sum `loss`. A term that is off or finds nothing is 0 with zero gradient.
    """
    maps = model.maps(batch.image)
    objects = find_objects(batch.class_map, batch.instance_map, model.is_thing, batch.hidden_map)
    panoptic, relation = _panoptic_terms(model, maps, batch, objects, config)
    terms = {
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
    return with_sum(terms)


def semantic_roi_loss(
    logits: Tensor, class_map: Tensor, objects: Sequence[Objects], size: int
) -> Tensor:
    """Mean cross-entropy of the semantic branch inside true boxes, each cut to size x size.

    Args:
        logits: at stride 4, (B, C, h, w).
        class_map: at full resolution, VOID_ID for void, (B, H, W) int64.
        objects: of each image.
        size: bins along a side.

    Returns:
        Scalar; 0 with zero gradient without an object.
    """
    cut = roi_align(
        at_least_float32(logits), [o.box for o in objects], size, 1 / MAP_STRIDE, aligned=True
    )
    labels = [_nearest(image, o.box, size) for image, o in zip(class_map, objects, strict=True)]
    return mean_cross_entropy(cut, torch.cat(labels))


def _nearest(labels: Tensor, box: Tensor, size: int) -> Tensor:
    """Labels (H, W) at the centres of the bins of each box (N, 4), (N, size, size)."""
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
    """The panoptic head's cross-entropy and L_R on true boxes, each the mean over the images."""
    net = model.config
    pooled = pool_batch(
        maps.levels[:4], [o.box for o in objects], net.mask_size // 2, net.canonical_size
    )
    masks = at_least_float32(model.mask_head(pooled))
    with torch.autocast(masks.device.type, enabled=False):
        own = of_class(masks, torch.cat([o.thing for o in objects]))
        return _true_terms(
            model, at_least_float32(maps.semantic_logits), own, batch, objects, config
        )


def _true_terms(
    model: SOGNet,
    semantic_logits: Tensor,
    logits: Tensor,
    batch: Batch,
    objects: Sequence[Objects],
    config: SOGNetLossConfig,
) -> tuple[Tensor, Tensor]:
    """The same from semantic logits (B, C, h, w) and the objects' mask logits (N, m, m)."""
    net, labels = model.config, batch.at_stride(MAP_STRIDE)
    # Every parameter takes part, so that DDP finds a gradient for each whatever overlaps.
    panoptic = relation = logits.sum() * 0 + sum(
        p.sum() * 0 for p in ([] if model.relation is None else model.relation.parameters())
    )
    each = logits.split([len(o.box) for o in objects])
    for i, (found, masks) in enumerate(zip(objects, each, strict=True)):
        semantic = semantic_logits[i]
        size = (semantic.shape[1], semantic.shape[2])
        dropped = None
        if net.void:  # before anything else: what is not shown takes nothing from what is
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
    """Takes overlaps from the masks of one image, by what the module says of its true objects.

    Args:
        model: whose relation module is asked.
        found: N objects.
        logits: of their masks, (N, h, w).
        features: their masks in their boxes, (N, m, m).
        whole: their cells, seen or hidden, (N, h, w) bool.
        visible: their cells that are seen, (N, h, w) bool.
        weak: L_R* in place of L_R.

    Returns:
        Logits (N, h, w), and the relation loss over the objects that overlap another.
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
    """R, who overlaps, and R*, who is covered by whom, among N objects: (N, N) bool both.

    With `overlap_of: box`, boxes at stride 4 stand for the whole masks.
    """
    config, size = model.config, (whole.shape[1], whole.shape[2])
    if config.overlap_of == 'box':
        whole = inside(found.box / MAP_STRIDE, size)
    flat, seen = whole.flatten(1).float(), visible.flatten(1).float()
    return significant_overlap(flat, config.least_overlap), covered(
        flat, seen, config.least_overlap
    )
