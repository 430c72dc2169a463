# SPDX-License-Identifier: Apache-2.0
"""Registry of model families: one row per family.

To add a family, write a folder of its paper beside this file, a loss in `panoptic_training.losses`
and a row here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.core.text import did_you_mean
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.ciae.config import CIAEConfig
from panoptic_ros.models.ciae.network import CIAE
from panoptic_ros.models.config import configure
from panoptic_ros.models.einet.config import EINetConfig
from panoptic_ros.models.einet.network import EINet
from panoptic_ros.models.hle.config import HLEConfig
from panoptic_ros.models.hle.network import HLE
from panoptic_ros.models.huggingface.config import HuggingFaceConfig
from panoptic_ros.models.huggingface.network import HuggingFace
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
from panoptic_ros.models.plain_onnx.config import PlainOnnxConfig, PlainQueriesConfig
from panoptic_ros.models.plain_onnx.network import OnnxDecoder, PlainOnnx, PlainQueries
from panoptic_ros.models.sognet.config import SOGNetConfig
from panoptic_ros.models.sognet.network import SOGNet


class NoModuleError(ValueError):
    """A model file whose network is a graph of another tool and no module of this package."""


@dataclass(frozen=True)
class Family:
    """Row of the registry."""

    network: type[PanopticModel]
    """Class of the module."""

    config: type
    """Frozen dataclass of plain values that `network` is built from."""

    loss: str | Callable[..., dict[str, Tensor]] | None = ''
    """Module of `panoptic_training.losses` that holds the `batch_loss` of the family.

    The empty string takes the module named like the family. It is a string so that a robot can
    build the network without the training package. A family outside the package may give its
    `batch_loss` itself: a function of (model, batch, stride, config) whose `config` is annotated
    with the class of its settings. None marks a family that is not trained here.
    """

    small: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `config` for a network that is quick to build and run.

    The tests of gradients, overfitting, export and TensorRT operators build this network for
    every family that has a loss.
    """

    aliases: tuple[str, ...] = ()
    """Earlier names, which model files and recipes may still hold."""


_BACKBONE = {'backbone': 'mobilenetv2_035'}
_CENTERS = {
    **_BACKBONE,
    'multigrid': (),
    'separable': True,
    'aspp_channels': 16,
    'low_level_channels': 8,
    'decoder_channels': 16,
    'instance_channels': 8,
    'head_channels': 8,
    'instance_head_channels': 8,
    'top_k': 12,
    'stride': 4,
    'min_area': 20,
    'center_threshold': 0.0,
}
_ROIS = {
    **_BACKBONE,
    'fpn_channels': 16,
    'box_width': 24,
    'embedding_dim': 8,
    'mask_widths': (16,),
    'mask_size': 14,
    'proposals_per_level': 20,
    'proposals': 40,
    'top_k': 12,
    'stride': 4,
    'score_threshold': 0.2,
    'min_stuff_area': 64.0,
}
_PISR = {'block_channels': 16, 'num_encodings': 6}

FAMILIES = {
    'ciae': Family(
        CIAE,
        CIAEConfig,
        small={
            **_BACKBONE,
            'channels': 16,
            'tower_depth': 1,
            'branch_channels': 16,
            'embedding_dim': 8,
            'stride': 2,
            'pre_nms_top_k': 20,
            'score_threshold': 0.0,
            'class_threshold': 0.0,
            'nms_threshold': 0.3,
            'min_stuff_area': 100,
        },
    ),
    'einet': Family(EINet, EINetConfig, small=_CENTERS),
    'hle': Family(
        HLE,
        HLEConfig,
        small={
            **_BACKBONE,
            'separable': True,
            'aspp_channels': 16,
            'low_level_channels': 8,
            'decoder_channels': 16,
            'top_k': 12,
            'stride': 4,
            'refine': 1,
        },
    ),
    'huggingface': Family(HuggingFace, HuggingFaceConfig, loss=None, aliases=('transformers',)),
    'onnx': Family(PlainOnnx, PlainOnnxConfig, loss=None),
    'onnx_queries': Family(PlainQueries, PlainQueriesConfig, loss=None),
    'panoptic_deeplab': Family(
        PanopticDeepLab, PanopticDeepLabConfig, small={**_CENTERS, 'stride': 2}
    ),
    'panoptic_fpn': Family(
        PanopticFPN, PanopticFPNConfig, small={**_ROIS, 'semantic_channels': 16}
    ),
    'pisr': Family(PISR, PISRConfig, small={**_CENTERS, **_PISR}),
    'pisr_maskformer': Family(
        PISRMaskFormer,
        PISRMaskFormerConfig,
        small={
            **_BACKBONE,
            'fpn_channels': 32,
            'mask_channels': 16,
            'num_queries': 12,
            'query_channels': 16,
            'decoder_layers': 2,
            'attention_heads': 2,
            'feedforward': 32,
            'block_channels': 16,
            'stride': 4,
            'score_threshold': 0.2,
            'overlap_threshold': 0.1,
        },
    ),
    'pisr_panoptic_fpn': Family(
        PISRPanopticFPN, PISRPanopticFPNConfig, small={**_ROIS, 'semantic_channels': 16, **_PISR}
    ),
    'pisr_upernet': Family(
        PISRUPerNet,
        PISRUPerNetConfig,
        loss='pisr_panoptic_fpn',
        small={
            **_ROIS,
            'semantic_channels': 16,
            'pool_scales': (1, 3),
            **_PISR,
            'panoptic_levels': 'alone',
        },
    ),
    'sognet': Family(
        SOGNet,
        SOGNetConfig,
        small={**_ROIS, 'semantic_widths': (8,), 'box_dim': 8, 'category_dim': 8, 'mask_dim': 8},
    ),
}


def resolve_family(name: str) -> str:
    """Return the present name of a family.

    Args:
        name: a key of FAMILIES or an alias.

    Raises:
        ValueError: if no family has this name; the message lists the families.
    """
    for present, row in FAMILIES.items():
        if name == present or name in row.aliases:
            return present
    raise ValueError(
        f'unknown family {name!r}{did_you_mean(name, FAMILIES)}; the families are: '
        f'{", ".join(FAMILIES)}'
    )


def build(family: str, labels: LabelSet, **config: Any) -> PanopticModel:
    """Build a family's module with fresh weights.

    Args:
        family: a key of FAMILIES or an alias.
        labels: the classes to predict.
        config: fields of the family's configuration; the others keep their defaults.

    Raises:
        ValueError: for an unknown family or configuration key; the message lists the known ones.
    """
    row = FAMILIES[resolve_family(family)]
    return row.network(labels, configure(row.config, config, f'family {family!r}'))


def rebuild(family: str, labels: LabelSet, config: Mapping[str, Any]) -> PanopticModel:
    """Build the module that a file describes, as it was trained.

    Args:
        family: a key of FAMILIES or an alias.
        labels: the classes to predict.
        config: fields of the family's configuration. Those that the version that wrote the file
            did not know take `Config.earlier`, not today's defaults.

    Raises:
        ValueError: see `build`.
    """
    earlier = getattr(FAMILIES[resolve_family(family)].config, 'earlier', {})
    return build(family, labels, **{**earlier, **config})


def build_model(info: ModelInfo) -> PanopticModel:
    """Build the module that a model file describes, without its weights.

    Raises:
        NoModuleError: if the file's network came as an ONNX file.
        ValueError: see `build`.
    """
    if issubclass(FAMILIES[resolve_family(info.family)].network, OnnxDecoder):
        raise NoModuleError(
            f'the network of {info.name} came as an ONNX file and is no PyTorch module; use the '
            'backend onnxruntime or tensorrt, or export it again from that file with '
            '`panoptic export --from onnx:FILE`'
        )
    return rebuild(info.family, info.network_labels, info.config)
