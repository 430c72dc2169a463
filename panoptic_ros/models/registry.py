"""The families by name. To add one: a file beside this and a line here."""

from __future__ import annotations

import dataclasses
from typing import Any

from panoptic_ros.bundle import ModelInfo
from panoptic_ros.labels import LabelSet
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.hle import HLE, HLEConfig
from panoptic_ros.models.panoptic_fpn import PanopticFPN, PanopticFPNConfig
from panoptic_ros.models.sognet import SOGNet, SOGNetConfig

FAMILIES: dict[str, tuple[type[PanopticModel], type]] = {
    'hle': (HLE, HLEConfig),
    'panoptic_fpn': (PanopticFPN, PanopticFPNConfig),
    'sognet': (SOGNet, SOGNetConfig),
}


def build(family: str, labels: LabelSet, **config: Any) -> PanopticModel:
    """Builds a family's module with fresh weights.

    Args:
        family: a key of FAMILIES.
        labels: the classes it is to predict.
        config: fields of the family's configuration; the rest take their defaults.

    Raises:
        ValueError: for an unknown family or configuration key, naming those that are known.
    """
    if family not in FAMILIES:
        raise ValueError(f'unknown family {family!r}; the families are: {", ".join(FAMILIES)}')
    module, config_class = FAMILIES[family]
    known = [field.name for field in dataclasses.fields(config_class)]
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ValueError(f'unknown key {unknown[0]!r} for family {family!r}; '
                         f'the keys are: {", ".join(known)}')
    # JSON and YAML have no tuples; the configuration's sequences are all tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    return module(labels, config_class(**values))


def build_model(info: ModelInfo) -> PanopticModel:
    """Builds the module that a model file describes, without its weights."""
    return build(info.family, info.labels, **info.config)
