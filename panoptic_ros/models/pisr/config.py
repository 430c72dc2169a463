# SPDX-License-Identifier: Apache-2.0
"""Configurations of PISR's block and of its four bases.

Tables are those of the supplement; what is marked "inferred" is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.panoptic_fpn.config import PanopticFPNConfig
from panoptic_ros.models.parts.queries.config import QueryDecodeConfig

REWEIGHTINGS = ('explicit', 'implicit', 'separated')
CORRELATIONS = ('matmul', 'cosine', 'l2')

LEVELS = ('sum', 'alone')

GROUPS = 32
"""Groups of the group norms in the library's pixel decoder."""


@dataclass(frozen=True)
class PISRBlockConfig:
    """Switches of the block, which families add to those of their base."""

    enabled: bool = True
    """Whether the block is present; without it the network is its base."""

    block_channels: int = 256
    """Channels of features and encodings in the block; D of the instance table."""

    reweight: str = 'explicit'
    """Weighting of the encodings (table B.1): `explicit`, `implicit` or `separated`."""

    hidden_layers: int = 2
    """Hidden layers of the reweighting's MLP (table B.1)."""

    f1: str = 'matmul'
    """Correlation of encodings and features (table B.2): `matmul`, `cosine` or `l2`."""

    f2: str = 'matmul'
    """Correlation of encodings and spatial maps (table B.2)."""

    spatial_softmax: bool = True
    """Whether a softmax over the encodings lies between the two correlations (inferred)."""

    def __post_init__(self) -> None:
        for key, allowed in (
            ('reweight', REWEIGHTINGS),
            ('f1', CORRELATIONS),
            ('f2', CORRELATIONS),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f'pisr.{key} must be one of {allowed}, got {getattr(self, key)!r}'
                )
        if self.hidden_layers < 0 or self.block_channels < 1:
            raise ValueError(
                'pisr needs hidden_layers of at least 0 and block_channels of at '
                f'least 1, got {self.hidden_layers} and {self.block_channels}'
            )


@dataclass(frozen=True)
class PISRConfig(PISRBlockConfig, PanopticDeepLabConfig):
    """Network and decoding of Panoptic-DeepLab with PISR; lengths in network-input pixels."""

    family: ClassVar[str] = 'pisr'

    num_encodings: int = 50
    """K, the number of most confident centres that are encoded (inferred)."""

    tau: float = 8.0
    """Standard deviation of an instance's heatmap, px (inferred)."""

    def __post_init__(self) -> None:
        PanopticDeepLabConfig.__post_init__(self)
        PISRBlockConfig.__post_init__(self)
        if self.num_encodings < 1 or self.tau <= 0:
            raise ValueError(
                'pisr needs num_encodings of at least 1 and tau above 0, '
                f'got {self.num_encodings} and {self.tau}'
            )


@dataclass(frozen=True)
class PISRMaskFormerConfig(PISRBlockConfig, QueryDecodeConfig):
    """Network and decoding of MaskFormer with PISR; lengths in network-input pixels."""

    backbone: str = 'resnet50'
    """Name of a timm model."""

    fpn_channels: int = 256
    """Channels of the pixel decoder, a multiple of 32."""

    mask_channels: int = 256
    """Channels of the features that are multiplied with queries to masks."""

    num_queries: int = 100

    query_channels: int = 256
    """Channels of queries and of the transformer's layers."""

    decoder_layers: int = 6

    attention_heads: int = 8

    feedforward: int = 2048
    """Width of the hidden layer of the feed-forward networks."""

    dropout: float = 0.1

    deep_supervision: bool = True
    """Whether all layers of the transformer learn to predict classes and masks."""

    feed_queries: bool = True
    """Whether the final heads receive each query with the mean panoptic feature under its first
    mask. Without it, panoptic features only serve as the mask features (inferred)."""

    score_threshold: float = 0.7
    """Least class probability of a query, as in MaskFormer's public configurations."""

    def __post_init__(self) -> None:
        QueryDecodeConfig.__post_init__(self)
        PISRBlockConfig.__post_init__(self)
        for key in (
            'fpn_channels',
            'mask_channels',
            'num_queries',
            'query_channels',
            'decoder_layers',
            'attention_heads',
            'feedforward',
        ):
            if getattr(self, key) < 1:
                raise ValueError(f'{key} must be at least 1, got {getattr(self, key)}')
        if self.fpn_channels % GROUPS:
            raise ValueError(
                f'fpn_channels must be a multiple of {GROUPS}, got {self.fpn_channels}'
            )
        if self.query_channels % (4 * self.attention_heads):
            raise ValueError(
                'query_channels must be a multiple of 4 * attention_heads, '
                f'got {self.query_channels} for {self.attention_heads} heads'
            )
        if self.reweight == 'separated':
            raise ValueError(
                'reweight: separated needs encodings of classes beside those of '
                'instances, but queries are both; use explicit or implicit'
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f'dropout must lie in 0 to below 1, got {self.dropout}')


@dataclass(frozen=True)
class PISRPanopticFPNConfig(PISRBlockConfig, PanopticFPNConfig):
    """Network and decoding of Panoptic FPN with PISR; lengths in network-input pixels."""

    num_encodings: int = 50
    """K, the number of best detections of the initial heads that are encoded (inferred)."""

    encoding_score: float = 0.05
    """Least class probability of an encoded detection (inferred)."""

    panoptic_levels: str = 'sum'
    """Input of the final box and mask heads (inferred): `sum`, the pyramid with the panoptic
    features added to each level, or `alone`, the panoptic features at the levels' strides."""

    def __post_init__(self) -> None:
        PanopticFPNConfig.__post_init__(self)
        PISRBlockConfig.__post_init__(self)
        if self.panoptic_levels not in LEVELS:
            raise ValueError(
                f'pisr.panoptic_levels must be one of {LEVELS}, got {self.panoptic_levels!r}'
            )
        if self.num_encodings < 1 or not 0 <= self.encoding_score <= 1:
            raise ValueError(
                'pisr needs num_encodings of at least 1 and encoding_score in 0 to '
                f'1, got {self.num_encodings} and {self.encoding_score}'
            )


@dataclass(frozen=True)
class PISRUPerNetConfig(PISRPanopticFPNConfig):
    """Network and decoding of UPerNet with PISR; lengths in network-input pixels."""

    fpn_channels: int = 512
    semantic_channels: int = 512
    """Channels of the fused levels; UPerNet has 512 here and in the pyramid."""

    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    """Bins along a side of the grids that the coarsest features are pooled to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pool_scales or min(self.pool_scales) < 1:
            raise ValueError(f'pool_scales must be numbers of at least 1, got {self.pool_scales}')
