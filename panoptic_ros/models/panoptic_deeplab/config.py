# SPDX-License-Identifier: Apache-2.0
"""Configuration of Panoptic-DeepLab."""

from dataclasses import dataclass

from panoptic_ros.models.config import FamilyConfig, Rules, at_least, one_of, threshold


@dataclass(frozen=True)
class PanopticDeepLabConfig(FamilyConfig):
    """Network and decoding of Panoptic-DeepLab; lengths in network-input pixels."""

    section = 'panoptic_deeplab'
    rules = Rules(
        output_stride=one_of(16, 32),
        instance_score=one_of('objectness', 'semantic', 'product'),
        top_k=at_least(1),
        nms_kernel=at_least(1),
    )

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

    top_k: int = 200
    """Most centres in one image."""

    nms_kernel: int = 7
    """Side of the window in which only the highest centre survives, px; 41 on COCO."""

    instance_score: str = 'product'
    """`objectness`: the heatmap at the centre; `semantic`: the mean probability of the class in
    the mask; `product`: both. Masks do not overlap, so that this changes AP only."""

    score_threshold: float = threshold(0.0, 1, 'least score of an instance')
    """Least score of an instance; instances below it become void."""

    min_area: float = threshold(0.0, 1e6, 'least area of an instance, input px')
    """Least area of an instance, px (inferred: no limit)."""

    center_threshold: float = threshold(0.1, 1, 'least height of the heatmap at a centre')
    """Least height of the heatmap at a centre."""

    min_stuff_area: float = threshold(2048.0, 1e7, 'least area of a stuff segment, input px')
    """Least area of a stuff segment, px; 4096 on COCO."""
