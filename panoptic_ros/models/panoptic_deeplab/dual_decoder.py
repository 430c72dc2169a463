# SPDX-License-Identifier: Apache-2.0
"""Backbone with two decoders, and the heads of Panoptic-DeepLab.

Cheng et al., Panoptic-DeepLab, CVPR 2020.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.models.parts.backbone import make_backbone, set_multigrid
from panoptic_ros.models.parts.deeplab import ASPP
from panoptic_ros.models.parts.layers import conv_bn_relu, separable_conv

RATES = {16: (6, 12, 18), 32: (3, 6, 9)}
"""Dilations of ASPP by output stride."""

KERNEL = 5
"""Side of the decoders' depthwise convolutions."""


class DualDecoder(nn.Module):
    """Backbone with a semantic and an instance decoder to stride 4.

    Args:
        backbone: any timm model with features at stride 4, 8, (16,) and `output_stride`.
        output_stride: input pixels per cell of ASPP's input, 16 or 32.
        multigrid: factors of the last stage's dilations at output stride 16; () for none.
        aspp_channels: channels of each ASPP branch.
        channels: (semantic, instance) channels of the results.
        low_level_channels: channels that the semantic decoder reduces the backbone's map at stride
            4 to, twice and four times as many at strides 8 and 16; the instance decoder has half.
        separable: depthwise-separable 3x3 convolutions in ASPP.
        fusion: how finer maps are fused, see `Decoder`.
        instance_aspp: whether the instance decoder starts with an ASPP, not a 1x1 convolution.

    Raises:
        ValueError: if timm does not know the backbone, or it has no features at these strides.
    """

    def __init__(
        self,
        backbone: str,
        output_stride: int,
        multigrid: Sequence[int],
        aspp_channels: int,
        channels: tuple[int, int],
        low_level_channels: int,
        separable: bool,
        fusion: str = 'concat',
        instance_aspp: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = make_backbone(backbone, output_stride)
        if multigrid and output_stride == 16:
            set_multigrid(self.backbone, multigrid)
        features: Any = self.backbone.feature_info
        reductions = features.reduction()
        finer = [stride for stride in (16, 8, 4) if stride < output_stride]
        if not set(finer) <= set(reductions) or reductions[-1] != output_stride:
            raise ValueError(
                f'backbone {backbone!r} must have features at strides '
                f'{[*reversed(finer), output_stride]}, it has {reductions}'
            )
        self.indices = [len(reductions) - 1, *(reductions.index(stride) for stride in finer)]
        inputs = [features.channels()[i] for i in self.indices]
        low = [low_level_channels * stride // 4 for stride in finer]

        def decoder(channels: int, share: int, aspp: bool) -> Decoder:
            return Decoder(
                inputs,
                [n // share for n in low],
                RATES[output_stride],
                aspp_channels,
                channels,
                separable,
                fusion,
                aspp,
            )

        self.finest_channels = inputs[-1]
        self.semantic = decoder(channels[0], 1, True)
        self.instance = decoder(channels[1], 2, instance_aspp)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute semantic, instance and backbone features (B, ., H/4, W/4) of (B, 3, H, W)."""
        features = self.backbone(image)
        levels = [features[i] for i in self.indices]
        return self.semantic(levels), self.instance(levels), levels[-1]


class Decoder(nn.Module):
    """Decoder from the coarsest map to the finest, which fuses one map after the other.

    Args:
        inputs: channels of the maps, coarsest first.
        low_level_channels: channels that all maps but the first are reduced to by `concat`.
        rates: ASPP's dilations.
        aspp_channels: channels of each ASPP branch.
        channels: channels of each 5x5 depthwise-separable convolution.
        separable: depthwise-separable 3x3 convolutions in ASPP.
        fusion: `concat` reduces finer maps and concatenates them; `sum` converts them to the
            coarser map's channels and adds them.
        aspp: whether ASPP comes first, not a 1x1 convolution.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        low_level_channels: Sequence[int],
        rates: tuple[int, ...],
        aspp_channels: int,
        channels: int,
        separable: bool,
        fusion: str,
        aspp: bool,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.context = (
            ASPP(inputs[0], aspp_channels, rates, separable)
            if aspp
            else conv_bn_relu(inputs[0], aspp_channels)
        )
        self.project, self.fuse = nn.ModuleList(), nn.ModuleList()
        coarse = aspp_channels
        for width, reduced in zip(inputs[1:], low_level_channels, strict=True):
            low = reduced if fusion == 'concat' else coarse
            self.project.append(conv_bn_relu(width, low))
            self.fuse.append(
                separable_conv(coarse + (low if fusion == 'concat' else 0), channels, KERNEL)
            )
            coarse = channels

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Compute (B, channels) at the finest map's size from maps, coarsest first."""
        x = self.context(levels[0])
        for project, fuse, level in zip(self.project, self.fuse, levels[1:], strict=True):
            low = project(level)
            x = F.interpolate(x, size=low.shape[2:], mode='bilinear')
            x = fuse(torch.cat([x, low], dim=1) if self.fusion == 'concat' else x + low)
        return x


class Head(nn.Module):
    """5x5 depthwise-separable convolution and a 1x1 convolution to the outputs."""

    def __init__(self, inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv = separable_conv(inputs, channels, KERNEL)
        self.out = nn.Conv2d(channels, outputs, 1)
        nn.init.normal_(self.out.weight, std=0.001)  # as in the released code
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, inputs, h, w) -> (B, outputs, h, w)."""
        return self.out(self.conv(x))


class Heads(nn.Module):
    """Heads for class logits, the heatmap of centres and offsets.

    Args:
        inputs: (semantic, instance) channels of the features.
        channels: (semantic, instance) channels of the heads' convolutions.
        num_classes: C.
        center_channels: number of heatmaps.
    """

    def __init__(
        self,
        inputs: tuple[int, int],
        channels: tuple[int, int],
        num_classes: int,
        center_channels: int = 1,
    ) -> None:
        super().__init__()
        self.semantic = Head(inputs[0], channels[0], num_classes)
        self.center = Head(inputs[1], channels[1], center_channels)
        self.offset = Head(inputs[1], channels[1], 2)

    def forward(self, semantic: Tensor, instance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute maps (B, C), (B, center_channels) and (B, 2) of the features' size."""
        return self.semantic(semantic), self.center(instance), self.offset(instance)
