# SPDX-License-Identifier: Apache-2.0
"""Configuration of HLE.

Tables and equations are those of the paper; what the paper leaves open is marked "inferred".
"""

from __future__ import annotations

from dataclasses import dataclass

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class HLEConfig:
    """Network and decoding of HLE; lengths in network-input pixels."""

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

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    stride: int = 1
    """Input pixels per cell of the decoded maps: 1, 2 or 4; 4 is the paper's fast decoding."""

    top_k: int = 200
    """Most seeds of one image (inferred)."""

    seed_window: int = 3
    """Side of the window in which only the highest seed survives, cells."""

    refine: int = 0
    """Rounds that replace each seed's embedding, position and deviations by the means over its
    mask, as in the loss (inferred); 0 is the paper's decoding."""

    flip: bool = False
    """Whether maps are averaged with those of the mirrored image."""

    score_threshold: float = 0.5
    """Least seed score of an instance (inferred)."""

    merge_threshold: float = 0.5
    """Probability under a better seed above which a seed is removed (inferred)."""

    mask_threshold: float = 0.5
    """Least probability of a pixel under its seed (inferred)."""

    stuff_threshold: float = 0.5
    """Least probability of a pixel's stuff class (inferred)."""

    min_area: float = 128.0
    """Least area of an instance, px (inferred, from SpatialEmbeddings)."""

    min_stuff_area: float = 2048.0
    """Least area of a stuff segment, px."""

    def __post_init__(self) -> None:
        for key, allowed in (
            ('space', ('hier', 'split')),
            ('output_stride', (16, 32)),
            ('spatial_sigma', ('global', 'predicted')),
            ('stride', (1, 2, 4)),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(f'hle.{key} must be one of {allowed}, got {getattr(self, key)!r}')
        if self.seed_window % 2 == 0:
            raise ValueError(f'hle.seed_window must be odd, got {self.seed_window}')
        if self.embedding_dim < 2 or (self.space == 'split' and self.embedding_dim % 2):
            raise ValueError(
                'hle.embedding_dim must be at least 2, and even for space: split, '
                f'got {self.embedding_dim}'
            )
        if not 0 <= self.refine <= 8:
            raise ValueError(f'hle.refine must be 0 to 8 rounds, got {self.refine}')
        if self.top_k < 1:
            raise ValueError(f'hle.top_k must be at least 1, got {self.top_k}')

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph, by name."""
        return {
            'score_threshold': Threshold(
                self.score_threshold, 0, 1, 'least seed score of an instance'
            ),
            'min_area': Threshold(self.min_area, 0, 1e6, 'least area of an instance, input px'),
            'merge_threshold': Threshold(
                self.merge_threshold, 0, 1, 'seeds more alike than this are one instance'
            ),
            'mask_threshold': Threshold(
                self.mask_threshold, 0, 1, 'least probability of a pixel under its seed'
            ),
            'stuff_threshold': Threshold(
                self.stuff_threshold, 0, 1, 'least probability of a stuff pixel'
            ),
            'min_stuff_area': Threshold(
                self.min_stuff_area, 0, 1e7, 'least area of a stuff segment, input px'
            ),
        }
