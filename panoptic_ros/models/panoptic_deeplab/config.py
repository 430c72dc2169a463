# SPDX-License-Identifier: Apache-2.0
"""Configuration of Panoptic-DeepLab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD

INSTANCE_SCORES = ('objectness', 'semantic', 'product')


@dataclass(frozen=True)
class PanopticDeepLabConfig:
    """Network and decoding of Panoptic-DeepLab; lengths in network-input pixels."""

    family: ClassVar[str] = 'panoptic_deeplab'

    backbone: str = 'resnet50'
    """Name of a timm model."""

    output_stride: int = 16
    """Input pixels per cell of ASPP's input: 16 with dilations 6, 12, 18, or 32 with half."""

    multigrid: tuple[int, ...] = (1, 2, 4)
    """Factors of the dilations in a ResNet's last stage at output stride 16; other backbones need
    (), which switches it off."""

    aspp_channels: int = 256

    low_level_channels: int = 32
    """Channels that the semantic decoder reduces the map at stride 4 to; twice as many at stride
    8, four times at 16. The instance decoder has half."""

    decoder_channels: int = 256
    """Channels of the semantic decoder."""

    instance_channels: int = 128
    """Channels of the instance decoder."""

    head_channels: int = 256
    """Channels of the convolution in the semantic head."""

    instance_head_channels: int = 32
    """Channels of the convolutions in the heads of centres and offsets."""

    separable: bool = False
    """Whether ASPP has depthwise-separable 3x3 convolutions, for small models."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    stride: int = 1
    """Input pixels per cell of the decoded maps: 1, 2 or 4."""

    top_k: int = 200
    """Most centres in one image."""

    nms_kernel: int = 7
    """Side of the window in which only the highest centre survives, px; 41 on COCO."""

    instance_score: str = 'product'
    """`objectness`: the heatmap at the centre; `semantic`: the mean probability of the class in
    the mask; `product`: both. Masks do not overlap, so that this changes AP only."""

    center_threshold: float = 0.1
    """Least height of the heatmap at a centre."""

    score_threshold: float = 0.0
    """Least score of an instance; instances below it become void."""

    min_area: float = 0.0
    """Least area of an instance, px (inferred: no limit)."""

    min_stuff_area: float = 2048.0
    """Least area of a stuff segment, px; 4096 on COCO."""

    def __post_init__(self) -> None:
        for key, allowed in (
            ('output_stride', (16, 32)),
            ('stride', (1, 2, 4)),
            ('instance_score', INSTANCE_SCORES),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f'{self.family}.{key} must be one of {allowed}, got {getattr(self, key)!r}'
                )
        for key in ('top_k', 'nms_kernel'):
            if getattr(self, key) < 1:
                raise ValueError(
                    f'{self.family}.{key} must be at least 1, got {getattr(self, key)}'
                )

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph, by name."""
        return {
            'score_threshold': Threshold(self.score_threshold, 0, 1, 'least score of an instance'),
            'min_area': Threshold(self.min_area, 0, 1e6, 'least area of an instance, input px'),
            'center_threshold': Threshold(
                self.center_threshold, 0, 1, 'least height of the heatmap at a centre'
            ),
            'min_stuff_area': Threshold(
                self.min_stuff_area, 0, 1e7, 'least area of a stuff segment, input px'
            ),
        }
