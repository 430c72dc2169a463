"""The loss of each model family. To add one: a file in losses/ and a line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from panoptic_ros.models.ciae import CIAE
from panoptic_ros.models.fcos import by_location
from panoptic_ros.models.hle import HLE

from .data.sample import Batch
from .losses.ciae import CIAELossConfig, ciae_loss, memory_rows
from .losses.classes import class_sums
from .losses.fcos import fcos_loss, fcos_targets
from .losses.hle import HLELossConfig, hle_loss
from .losses.queries import memory_momentum, update_memory


def _hle(model: HLE, batch: Batch, stride: int, config: HLELossConfig) -> dict[str, Tensor]:
    labels = batch.at_stride(stride)
    return hle_loss(*model.maps(batch.image, stride), model.semantic_mean,
                    model.semantic_log_sigma, labels.class_map, labels.instance_map,
                    model.is_thing, stride / model.config.position_scale, config)


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
    'hle': (_hle, HLELossConfig),
}
"""By family: its loss, a function of (model, batch, input pixels per cell of the maps,
configuration) that gives named terms and their sum `loss`; and the configuration's class."""


def build_loss(family: str, settings: Mapping[str, Any]) -> Callable[..., dict[str, Tensor]]:
    """The loss of a family, as a function of (model, batch, stride).

    Raises:
        ValueError: for a family without one, or an unknown key in its settings.
    """
    if family not in LOSSES:
        raise ValueError(f'no loss for family {family!r}; there is one for: {", ".join(LOSSES)}')
    loss, config_class = LOSSES[family]
    known = [field.name for field in dataclasses.fields(config_class)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f'unknown key {unknown[0]!r} for the loss of {family!r}; '
                         f'the keys are: {", ".join(known)}')
    config = config_class(**{k: tuple(v) if isinstance(v, list) else v
                             for k, v in settings.items()})

    return partial(loss, config=config)
