# SPDX-License-Identifier: Apache-2.0
"""The families by name. To add one: a file beside this and a line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_file import ModelInfo
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.ciae import CIAE, CIAEConfig
from panoptic_ros.models.einet import EINet, EINetConfig
from panoptic_ros.models.hle import HLE, HLEConfig
from panoptic_ros.models.panoptic_deeplab import PanopticDeepLab, PanopticDeepLabConfig
from panoptic_ros.models.panoptic_fpn import PanopticFPN, PanopticFPNConfig
from panoptic_ros.models.pisr import PISR, PISRConfig
from panoptic_ros.models.pisr_maskformer import PISRMaskFormer, PISRMaskFormerConfig
from panoptic_ros.models.pisr_panoptic_fpn import PISRPanopticFPN, PISRPanopticFPNConfig
from panoptic_ros.models.pisr_upernet import PISRUPerNet, PISRUPerNetConfig
from panoptic_ros.models.sognet import SOGNet, SOGNetConfig
from panoptic_ros.models.transformers import TransformersConfig, TransformersPanoptic

FAMILIES: dict[str, tuple[type[PanopticModel], type]] = {
    'ciae': (CIAE, CIAEConfig),
    'einet': (EINet, EINetConfig),
    'hle': (HLE, HLEConfig),
    'panoptic_deeplab': (PanopticDeepLab, PanopticDeepLabConfig),
    'panoptic_fpn': (PanopticFPN, PanopticFPNConfig),
    'pisr': (PISR, PISRConfig),
    'pisr_maskformer': (PISRMaskFormer, PISRMaskFormerConfig),
    'pisr_panoptic_fpn': (PISRPanopticFPN, PISRPanopticFPNConfig),
    'pisr_upernet': (PISRUPerNet, PISRUPerNetConfig),
    'sognet': (SOGNet, SOGNetConfig),
    'transformers': (TransformersPanoptic, TransformersConfig),
}

TYPES: dict[str, tuple[type, ...]] = {
    'int': (int,),
    'float': (float, int),
    'bool': (bool,),
    'str': (str,),
    'tuple': (tuple,),
}
"""Types that a field with this annotation takes."""


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
    return module(labels, configure(config_class, config, f'family {family!r}'))


def configure(config_class: type, values: Mapping[str, Any], what: str) -> Any:
    """Makes a dataclass of plain values from what JSON or YAML holds.

    Args:
        config_class: its fields are annotated; int, float, bool, str and tuples are checked.
        values: by field; the rest take their defaults.
        what: is configured, for messages.

    Raises:
        ValueError: for an unknown key, naming those that are known, one that is missing, or a
            value of another type.
    """
    kinds = {field.name: str(field.type) for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise ValueError(
            f'unknown key {unknown[0]!r} for {what}; the keys are: {", ".join(kinds)}'
        )
    missing = [
        field.name
        for field in dataclasses.fields(config_class)
        if field.default is field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    if missing:
        raise ValueError(f'{what} needs the key {missing[0]!r}')
    # JSON and YAML have no tuples; the configuration's sequences are all tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for key, value in values.items():
        expected = TYPES.get(kinds[key].partition('[')[0], (object,))
        if not isinstance(value, expected) or (isinstance(value, bool) and int in expected):
            raise ValueError(f'{what}: {key} must be {kinds[key]}, got {value!r}')
    return config_class(**values)


def build_model(info: ModelInfo) -> PanopticModel:
    """Builds the module that a model file describes, without its weights."""
    return build(info.family, info.labels, **info.config)
