# SPDX-License-Identifier: Apache-2.0
"""Configurations of PISR's block and of its four bases.

Tables are those of the supplement; what is marked "inferred" is not in it.
"""

from dataclasses import dataclass

from panoptic_ros.models.config import (
    POSITIVE,
    SHARE,
    SHARE_BELOW_1,
    Config,
    Rules,
    all_at_least,
    at_least,
    one_of,
    threshold,
)
from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.panoptic_fpn.config import PanopticFPNConfig
from panoptic_ros.models.parts.queries.config import QueryDecodeConfig

REWEIGHTINGS = ('explicit', 'implicit', 'separated')
CORRELATIONS = ('matmul', 'cosine', 'l2')


GROUPS = 32
"""Groups of the group norms in the library's pixel decoder."""


@dataclass(frozen=True)
class PISRBlockConfig(Config):
    """Switches of the block, which families add to those of their base."""

    section = 'pisr'
    rules = Rules(
        reweight=one_of(*REWEIGHTINGS),
        f1=one_of(*CORRELATIONS),
        f2=one_of(*CORRELATIONS),
        hidden_layers=at_least(0),
        block_channels=at_least(1),
    )

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

    spatial_h: bool = False
    """Whether h, a 1x1 convolution with batch norm and ReLU, is applied to the spatial maps F_sp
    as well, as the supplement's formula F_pan = g_p(E^T) h(F_sp) reads. All maps share its weights
    (inferred)."""

    spatial_softmax: bool = True
    """Whether a softmax over the encodings lies between the two correlations (inferred)."""


@dataclass(frozen=True)
class PISRConfig(PISRBlockConfig, PanopticDeepLabConfig):
    """Network and decoding of Panoptic-DeepLab with PISR; lengths in network-input pixels."""

    rules = Rules(num_encodings=at_least(1), tau=POSITIVE)

    num_encodings: int = 50
    """K, the number of most confident centres that are encoded (inferred)."""

    tau: float = 8.0
    """Standard deviation of an instance's heatmap, px (inferred)."""


@dataclass(frozen=True)
class PISRMaskFormerConfig(PISRBlockConfig, QueryDecodeConfig):
    """Network and decoding of MaskFormer with PISR; lengths in network-input pixels."""

    rules = Rules(
        fpn_channels=(
            f'be a multiple of {GROUPS}',
            lambda value: value >= 1 and value % GROUPS == 0,
        ),
        mask_channels=at_least(1),
        num_queries=at_least(1),
        query_channels=at_least(1),
        decoder_layers=at_least(1),
        attention_heads=at_least(1),
        feedforward=at_least(1),
        dropout=SHARE_BELOW_1,
    )

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

    score_threshold: float = threshold(0.7, 1, 'least class probability of a query')
    """Least class probability of a query, as in MaskFormer's public configurations."""

    def __post_init__(self) -> None:
        super().__post_init__()
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


@dataclass(frozen=True)
class PISRPanopticFPNConfig(PISRBlockConfig, PanopticFPNConfig):
    """Network and decoding of Panoptic FPN with PISR; lengths in network-input pixels."""

    rules = Rules(
        panoptic_levels=one_of('sum', 'alone'), num_encodings=at_least(1), encoding_score=SHARE
    )

    num_encodings: int = 50
    """K, the number of best detections of the initial heads that are encoded (inferred)."""

    encoding_score: float = 0.05
    """Least class probability of an encoded detection (inferred)."""

    panoptic_levels: str = 'sum'
    """Input of the final box and mask heads (inferred): `sum`, the pyramid with the panoptic
    features added to each level, or `alone`, the panoptic features at the levels' strides."""


@dataclass(frozen=True)
class PISRUPerNetConfig(PISRPanopticFPNConfig):
    """Network and decoding of UPerNet with PISR; lengths in network-input pixels."""

    rules = Rules(pool_scales=all_at_least(1))

    fpn_channels: int = 512
    semantic_channels: int = 512
    """Channels of the fused levels; UPerNet has 512 here and in the pyramid."""

    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    """Bins along a side of the grids that the coarsest features are pooled to."""
