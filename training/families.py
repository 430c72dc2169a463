"""The loss of each model family. To add one: a file in losses/ and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from panoptic_ros.models.center_decode import MAP_STRIDE
from panoptic_ros.models.ciae import CIAE
from panoptic_ros.models.einet import EINet
from panoptic_ros.models.fcos import by_location
from panoptic_ros.models.hle import HLE
from panoptic_ros.models.panoptic_deeplab import PanopticDeepLab
from panoptic_ros.models.pisr import PISR
from panoptic_ros.models.registry import configure

from .data.sample import Batch
from .losses.ciae import CIAELossConfig, ciae_loss, memory_rows
from .losses.classes import class_sums
from .losses.einet import EINetLossConfig, einet_loss, update_dictionary
from .losses.fcos import fcos_loss, fcos_targets
from .losses.hle import HLELossConfig, hle_loss
from .losses.panoptic_deeplab import PanopticDeepLabLossConfig, panoptic_deeplab_loss
from .losses.panoptic_fpn import PanopticFPNLossConfig, panoptic_fpn_loss
from .losses.pisr import PISRLossConfig, pisr_loss
from .losses.queries import memory_momentum, update_memory
from .losses.sognet import SOGNetLossConfig, sognet_loss


def _hle(model: HLE, batch: Batch, stride: int, config: HLELossConfig) -> dict[str, Tensor]:
    labels = batch.at_stride(stride)
    return hle_loss(*model.maps(batch.image, stride), model.semantic_mean,
                    model.semantic_log_sigma, labels.class_map, labels.instance_map,
                    model.is_thing, stride / model.config.position_scale, config)


def _panoptic_deeplab(model: PanopticDeepLab, batch: Batch, stride: int,
                      config: PanopticDeepLabLossConfig) -> dict[str, Tensor]:
    labels, maps = batch.at_stride(stride), model.maps(batch.image, stride)
    return panoptic_deeplab_loss(
        maps.semantic_logits, maps.center_heatmap, maps.center_offset, labels.class_map,
        labels.instance_map, model.is_thing, stride, config)


def _einet(model: EINet, batch: Batch, stride: int, config: EINetLossConfig,
           ) -> dict[str, Tensor]:
    labels = batch.at_stride(stride)
    semantic, instance = model.embeddings(batch.image)
    if model.training and model.config.interaction in ('s2i', 'both'):
        update_dictionary(model.dictionary, semantic, batch.at_stride(MAP_STRIDE).class_map,
                          config.momentum)
    maps = model.maps_of(semantic, instance, stride)
    return einet_loss(
        maps.semantic_logits, maps.center_heatmap, maps.center_offset, labels.class_map,
        labels.instance_map, model.is_thing, stride, model.config.heatmap_loss, config)


def _pisr(model: PISR, batch: Batch, stride: int, config: PISRLossConfig) -> dict[str, Tensor]:
    labels, maps = batch.at_stride(stride), model.maps(batch.image, stride)
    return pisr_loss(maps.final[:3], maps.initial and maps.initial[:3], labels.class_map,
                     labels.instance_map, model.is_thing, stride, config)


def _ciae(model: CIAE, batch: Batch, stride: int, config: CIAELossConfig) -> dict[str, Tensor]:
    maps, labels = model.maps(batch.image, stride), batch.at_stride(stride)
    # The memory changes below, in place, before the gradients are taken.
    terms = ciae_loss(maps.embedding, maps.semantic_logits, model.memory.clone(),
                      model.memory_of_class, labels.class_map, labels.instance_map,
                      model.is_thing, config)
    detections = maps.detections
    targets = fcos_targets(batch.class_map, batch.instance_map, model.channel_of_class,
                           [(x.shape[2], x.shape[3]) for x in detections.box],
                           config.level_limits)
    terms |= fcos_loss(by_location(detections.class_logits), by_location(detections.box),
                       by_location(detections.centerness_logits)[..., 0], targets,
                       config.focal_alpha, config.focal_gamma)
    if model.training:
        rows = memory_rows(labels.class_map, model.memory_of_class)
        update_memory(model.memory, *class_sums(maps.embedding.float(), rows, len(model.memory)),
                      memory_momentum(model.progress, config.memory_momentum))
    return {**terms, 'loss': torch.stack(list(terms.values())).sum()}


LOSSES: dict[str, tuple[Callable[..., dict[str, Tensor]], type]] = {
    'ciae': (_ciae, CIAELossConfig),
    'einet': (_einet, EINetLossConfig),
    'hle': (_hle, HLELossConfig),
    'panoptic_deeplab': (_panoptic_deeplab, PanopticDeepLabLossConfig),
    'panoptic_fpn': (panoptic_fpn_loss, PanopticFPNLossConfig),
    'pisr': (_pisr, PISRLossConfig),
    'sognet': (sognet_loss, SOGNetLossConfig),
}
"""By family: its loss, a function of (model, batch, input pixels per cell of the maps,
configuration) that gives named terms and their sum `loss`; and the configuration's class."""


def build_loss(family: str, settings: Mapping[str, Any]) -> Callable[..., dict[str, Tensor]]:
    """The loss of a family, as a function of (model, batch, stride).

    Raises:
        ValueError: for a family without one, or a setting that it does not take.
    """
    if family not in LOSSES:
        raise ValueError(f'no loss for family {family!r}; there is one for: {", ".join(LOSSES)}')
    loss, config_class = LOSSES[family]
    return partial(loss, config=configure(config_class, settings, f'the loss of {family!r}'))
