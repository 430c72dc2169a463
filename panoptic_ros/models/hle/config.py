# SPDX-License-Identifier: Apache-2.0
"""Configuration of HLE.

Tables and equations are those of the paper; what the paper leaves open is marked "inferred".
"""

from dataclasses import dataclass

from panoptic_ros.models.config import ODD, FamilyConfig, Rules, at_least, one_of, threshold


@dataclass(frozen=True)
class HLEConfig(FamilyConfig):
    """Network and decoding of HLE; lengths in network-input pixels."""

    section = 'hle'
    rules = Rules(
        space=one_of('hier', 'split'),
        output_stride=one_of(16, 32),
        spatial_sigma=one_of('global', 'predicted'),
        seed_window=ODD,
        refine=('be 0 to 8 rounds', lambda value: 0 <= value <= 8),
        top_k=at_least(1),
    )

    backbone: str = 'resnet50'
    """Name of a timm model."""

    embedding_dim: int = 12
    """D; the paper uses 12 on Cityscapes, 128 on COCO and Vistas."""

    output_stride: int = 16
    """Input pixels per cell of ASPP's input, 16 or 32 (inferred: 16)."""

    aspp_channels: int = 256
    low_level_channels: int = 48
    decoder_channels: int = 256

    separable: bool = False
    """Depthwise-separable 3x3 convolutions in ASPP and decoder, for small models."""

    space: str = 'hier'
    """`hier`: one space for both; `split`: first half for classes, second half for instances."""

    seg_branch: bool = False
    """Whether classes come from a softmax branch instead of the embedding (Table 6)."""

    spatial_sigma: str = 'global'
    """`global`: one learned scalar (inferred); `predicted`: one value per pixel."""

    spatial_sigma_init: float = 0.05
    """Initial value of sigma_spatial, in units of `position_scale` (inferred)."""

    position_scale: float = 1024.0
    """Pixels per unit of position (inferred, from SpatialEmbeddings)."""

    thomson_start: bool = True
    """Whether class means start as a solution of Thomson's problem (Eq. 17), not at random."""

    stride: int = 1
    """Input pixels per cell of the decoded maps: 1, 2 or 4; 4 is the paper's fast decoding."""

    top_k: int = 200
    """Most seeds of one image, those that merge later included (inferred)."""

    seed_window: int = 3
    """Side of the window in which only the highest seed survives, cells."""

    refine: int = 0
    """Rounds that replace each seed's embedding, position and deviations by the means over its
    mask, as in the loss (inferred); 0 is the paper's decoding."""

    flip: bool = False
    """Whether maps are averaged with those of the mirrored image."""

    score_threshold: float = threshold(0.5, 1, 'least seed score of an instance')
    """Least seed score of an instance (inferred)."""

    min_area: float = threshold(128.0, 1e6, 'least area of an instance, input px')
    """Least area of an instance, px (inferred, from SpatialEmbeddings)."""

    merge_threshold: float = threshold(0.5, 1, 'seeds more alike than this are one instance')
    """Probability under a better seed above which a seed is removed (inferred)."""

    mask_threshold: float = threshold(0.5, 1, 'least probability of a pixel under its seed')
    """Least probability of a pixel under its seed (inferred)."""

    stuff_threshold: float = threshold(0.5, 1, 'least probability of a stuff pixel')
    """Least probability of a pixel's stuff class (inferred)."""

    min_stuff_area: float = threshold(2048.0, 1e7, 'least area of a stuff segment, input px')
    """Least area of a stuff segment, px."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim < 2 or (self.space == 'split' and self.embedding_dim % 2):
            raise ValueError(
                'hle.embedding_dim must be at least 2, and even for space: split, '
                f'got {self.embedding_dim}'
            )
