"""The loss of each model family. To add one: a file in losses/ and a line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from panoptic_ros.models.hle import HLE

from .data.sample import Batch
from .losses.hle import HLELossConfig, hle_loss
from .losses.panoptic_fpn import PanopticFPNLossConfig, panoptic_fpn_loss
from .losses.sognet import SOGNetLossConfig, sognet_loss


def _hle(model: HLE, batch: Batch, stride: int, config: HLELossConfig) -> dict[str, Tensor]:
    labels = batch.at_stride(stride)
    return hle_loss(*model.maps(batch.image, stride), model.semantic_mean,
                    model.semantic_log_sigma, labels.class_map, labels.instance_map,
                    model.is_thing, stride / model.config.position_scale, config)


LOSSES: dict[str, tuple[Callable[..., dict[str, Tensor]], type]] = {
    'hle': (_hle, HLELossConfig),
    'panoptic_fpn': (panoptic_fpn_loss, PanopticFPNLossConfig),
    'sognet': (sognet_loss, SOGNetLossConfig),
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
