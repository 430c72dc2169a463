# SPDX-License-Identifier: Apache-2.0
"""The families by name. To add one: a file beside this and a line here."""

from __future__ import annotations

from typing import Any

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_file import ModelInfo
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.ciae.config import CIAEConfig
from panoptic_ros.models.ciae.network import CIAE
from panoptic_ros.models.config import configure
from panoptic_ros.models.einet.config import EINetConfig
from panoptic_ros.models.einet.network import EINet
from panoptic_ros.models.hle.config import HLEConfig
from panoptic_ros.models.hle.network import HLE
from panoptic_ros.models.huggingface.config import TransformersConfig
from panoptic_ros.models.huggingface.network import TransformersPanoptic
from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.panoptic_deeplab.network import PanopticDeepLab
from panoptic_ros.models.panoptic_fpn.config import PanopticFPNConfig
from panoptic_ros.models.panoptic_fpn.network import PanopticFPN
from panoptic_ros.models.pisr.config import (
    PISRConfig,
    PISRMaskFormerConfig,
    PISRPanopticFPNConfig,
    PISRUPerNetConfig,
)
from panoptic_ros.models.pisr.maskformer import PISRMaskFormer
from panoptic_ros.models.pisr.panoptic_deeplab import PISR
from panoptic_ros.models.pisr.panoptic_fpn import PISRPanopticFPN
from panoptic_ros.models.pisr.upernet import PISRUPerNet
from panoptic_ros.models.sognet.config import SOGNetConfig
from panoptic_ros.models.sognet.network import SOGNet

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


def build_model(info: ModelInfo) -> PanopticModel:
    """Builds the module that a model file describes, without its weights."""
    return build(info.family, info.labels, **info.config)
