# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+: atrous backbone, ASPP and a decoder at stride 4.

Chen et al., Encoder-decoder with atrous separable convolution, ECCV 2018.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.models.parts.backbone import make_backbone
from panoptic_ros.models.parts.layers import conv3x3, conv_bn_relu


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, atrous 3x3 and image-mean branches, fused."""

    def __init__(
        self, inputs: int, outputs: int, rates: tuple[int, ...], separable: bool = False
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(inputs, outputs),
                *(conv3x3(inputs, outputs, rate, separable) for rate in rates),
            ]
        )
        # No batch norm: the pooled map has one value per image, and a batch may be one image.
        self.pool = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.project = conv_bn_relu(outputs * (len(self.branches) + 1), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, inputs, h, w) -> (B, outputs, h, w)."""
        pooled = self.pool(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))


class DeepLabV3Plus(nn.Module):
    """Network from an image to features at stride 4.

    Args:
        backbone: any timm model with features at stride 4 and `output_stride`.
        output_stride: input pixels per cell of ASPP's input, 16 or 32; the rates follow it.
        aspp_channels: channels of each ASPP branch.
        low_level_channels: channels that the backbone's stride-4 features are reduced to.
        decoder_channels: channels of the result.
        separable: depthwise-separable 3x3 convolutions in ASPP and decoder.

    Raises:
        ValueError: if timm does not know the backbone, or it has no features at these strides.
    """

    def __init__(
        self,
        backbone: str,
        output_stride: int,
        aspp_channels: int,
        low_level_channels: int,
        decoder_channels: int,
        separable: bool,
    ) -> None:
        super().__init__()
        self.backbone = make_backbone(backbone, output_stride)
        features: Any = self.backbone.feature_info
        reductions = features.reduction()
        if 4 not in reductions or reductions[-1] != output_stride:
            raise ValueError(
                f'backbone {backbone!r} must have features at strides 4 and '
                f'{output_stride}, it has {reductions}'
            )
        self.low_index = reductions.index(4)
        channels = features.channels()
        rates = tuple(rate * 16 // output_stride for rate in (6, 12, 18))
        self.aspp = ASPP(channels[-1], aspp_channels, rates, separable)
        self.low_level = conv_bn_relu(channels[self.low_index], low_level_channels)
        self.decoder = nn.Sequential(
            conv3x3(aspp_channels + low_level_channels, decoder_channels, separable=separable),
            conv3x3(decoder_channels, decoder_channels, separable=separable),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Compute (B, 3, H, W) normalised -> (B, decoder_channels, H/4, W/4)."""
        features = self.backbone(image)
        low = self.low_level(features[self.low_index])
        high = F.interpolate(self.aspp(features[-1]), size=low.shape[2:], mode='bilinear')
        return self.decoder(torch.cat([high, low], dim=1))
