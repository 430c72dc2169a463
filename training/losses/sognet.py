"""The loss of SOGNet (Yang et al., AAAI 2020; weights of the parts it shares after UPSNet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

from panoptic_ros.models.mask_rcnn import MAP_STRIDE, RoIMaps
from panoptic_ros.models.masks import inside, paste
from panoptic_ros.models.relation import (
    instance_logits,
    instance_semantics,
    resolve,
    significant_overlap,
    void_logits,
)
from panoptic_ros.models.roi_heads import of_class, pool_batch
from panoptic_ros.models.sognet import SOGNet

from ..data.sample import Batch
from .classes import mean_cross_entropy
from .objects import Objects, find_objects, mask_targets
from .panoptic_fpn import PanopticFPNLossConfig, roi_terms, semantic_loss
from .precision import at_least_float32
from .relations import covered, panoptic_loss, panoptic_target, relation_loss


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
    """Part of the instances that the panoptic head is not told of where the model has a void
    channel (UPSNet)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.void_share < 1:
            raise ValueError('loss.void_share must lie in 0 to below 1, '
                             f'got {self.void_share}')


def sognet_loss(model: SOGNet, batch: Batch, stride: int, config: SOGNetLossConfig,
                ) -> dict[str, Tensor]:
    """All terms for a batch.

    Args:
        model: whose heads are run on the boxes that are sampled here.
        batch: with labels at full resolution.
        stride: input pixels per cell of the semantic loss; the panoptic head learns at 4.
        config: samples and weights.

    Returns:
        The terms of `panoptic_fpn_loss`, `semantic_roi`, `panoptic` and `relation`, weighted,
        and their sum `loss`. A term that is off or finds nothing is 0 with zero gradient.
    """
    maps = model.maps(batch.image)
    objects = find_objects(batch.class_map, batch.instance_map, model.is_thing)
    panoptic, relation = _panoptic_terms(model, maps, batch, objects, config)
    terms = {
        'semantic': config.semantic_weight * semantic_loss(
            maps.semantic_logits, batch.at_stride(stride).class_map, stride),
        'semantic_roi': config.semantic_roi_weight * semantic_roi_loss(
            maps.semantic_logits, batch.class_map, objects, model.config.mask_size),
        **roi_terms(model, maps, batch, objects, config),
        'panoptic': config.panoptic_weight * panoptic,
        'relation': config.relation_weight * relation}
    terms['loss'] = torch.stack(list(terms.values())).sum()
    return terms


def semantic_roi_loss(logits: Tensor, class_map: Tensor, objects: Sequence[Objects], size: int,
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
    cut = roi_align(at_least_float32(logits), [o.box for o in objects], size, 1 / MAP_STRIDE,
                    aligned=True)
    labels = [_nearest(image, o.box, size) for image, o in zip(class_map, objects, strict=True)]
    return mean_cross_entropy(cut, torch.cat(labels))


def _nearest(labels: Tensor, box: Tensor, size: int) -> Tensor:
    """Labels (H, W) at the centres of the bins of each box (N, 4), (N, size, size)."""
    step = (torch.arange(size, device=box.device) + 0.5) / size
    x, y = ((box[:, i, None] + (box[:, i + 2] - box[:, i])[:, None] * step).long() for i in (0, 1))
    return labels[y[:, :, None], x[:, None, :]]


def _panoptic_terms(model: SOGNet, maps: RoIMaps, batch: Batch, objects: Sequence[Objects],
                    config: SOGNetLossConfig) -> tuple[Tensor, Tensor]:
    """The panoptic head's cross-entropy and L_R on true boxes, each the mean over the images."""
    net, labels = model.config, batch.at_stride(MAP_STRIDE)
    pooled = pool_batch(maps.levels[:4], [o.box for o in objects], net.mask_size // 2,
                        net.canonical_size)
    logits = at_least_float32(of_class(model.mask_head(pooled),
                                       torch.cat([o.thing for o in objects])))
    # Every parameter takes part, so that DDP finds a gradient for each whatever overlaps.
    panoptic = relation = logits.sum() * 0 + sum(
        p.sum() * 0 for p in ([] if model.relation is None else model.relation.parameters()))
    each = logits.split([len(o.box) for o in objects])
    for i, (found, masks) in enumerate(zip(objects, each, strict=True)):
        semantic = at_least_float32(maps.semantic_logits[i])
        size = (semantic.shape[1], semantic.shape[2])
        resolved = paste(masks, found.box / MAP_STRIDE, size)
        if model.relation is not None:
            resolved, term = _resolve(model, found, resolved, batch.instance_map[i],
                                      labels.instance_map[i], config)
            relation = relation + term
        shown, dropped = found, None
        if net.void:
            keep = torch.rand(len(found.id), device=found.id.device) >= config.void_share
            dropped = found.id[~keep]
            shown, resolved = Objects(*(x[keep] for x in found)), resolved[keep]
        within = inside(shown.box / MAP_STRIDE, size)
        semantics = instance_semantics(semantic, model.thing_class[shown.thing], within)
        channels = [semantic[model.stuff_class],
                    instance_logits(semantics, resolved, net.panoptic_head, net.semantic_factor)]
        if net.void:
            channels.append(void_logits(semantic, model.thing_class, semantics))
        target = panoptic_target(labels.class_map[i], labels.instance_map[i], shown.id,
                                 model.stuff_class, dropped)
        panoptic = panoptic + panoptic_loss(torch.cat(channels), target)
    return panoptic / len(objects), relation / len(objects)


def _resolve(model: SOGNet, found: Objects, logits: Tensor, instance_map: Tensor,
             coarse_map: Tensor, config: SOGNetLossConfig) -> tuple[Tensor, Tensor]:
    """Resolved logits (N, h, w) of one image, and its L_R over those that overlap another."""
    net, size = model.config, (coarse_map.shape[0], coarse_map.shape[1])
    visible = (coarse_map == found.id[:, None, None]).float().flatten(1)
    mask = visible if net.overlap_of == 'mask' else inside(
        found.box / MAP_STRIDE, size).float().flatten(1)
    pairs = significant_overlap(mask, net.least_overlap)
    chosen = torch.nonzero(pairs.any(dim=1))[:, 0]
    if not len(chosen):
        return logits, logits.new_zeros(())
    assert model.relation is not None
    relation = at_least_float32(model.relation(
        found.box[chosen], found.thing[chosen],
        mask_targets(instance_map, found.id[chosen], found.box[chosen], net.mask_size)))
    own = covered(mask, visible, net.least_overlap) if config.weak else pairs
    return logits.index_copy(0, chosen, resolve(logits[chosen], relation)), \
        relation_loss(relation, own[chosen][:, chosen], config.weak)
