# SPDX-License-Identifier: Apache-2.0
"""Semantic branch of UPSNet and SOGNet: deformable convolutions shared by all levels.

Dai et al., Deformable Convolutional Networks, ICCV 2017; Xiong et al., UPSNet, CVPR 2019.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import DeformConv2d


class DeformableConv(nn.Module):
    """3x3 convolution whose sampling points another convolution predicts.

    Training uses torchvision's operator. ONNX engines lack it; outside training, each of the nine
    taps is therefore sampled bilinearly and multiplied by its own matrix, which is the same sum.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(inputs, 18, 3, padding=1)
        self.conv = DeformConv2d(inputs, outputs, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, inputs, h, w) -> (B, outputs, h, w)."""
        offset = self.offset(x)
        if self.training:
            kind = self.conv.weight.dtype  # the operator has no mixed precision on CPUs
            return self.conv(x.to(kind), offset.to(kind))
        bias: Any = self.conv.bias
        return deform_by_taps(x, offset, self.conv.weight, bias)


def deform_by_taps(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute a padded 3x3 `torchvision.ops.deform_conv2d` in operators that engines have.

    Args:
        x: (B, C, h, w).
        offset: (dy, dx) of each tap in cells, (B, 18, h, w).
        weight: (O, C, 3, 3).
        bias: (O,).

    Returns:
        (B, O, h, w)
    """
    batch, _, height, width = x.shape
    y = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    x0 = torch.arange(width, device=x.device, dtype=x.dtype)
    total = bias[:, None]
    for tap in range(9):
        row = y + offset[:, 2 * tap] + (tap // 3 - 1)  # (B, h, w)
        column = x0 + offset[:, 2 * tap + 1] + (tap % 3 - 1)
        # Cell centres lie at odd multiples of half a cell from -1 to 1.
        grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1)
        sampled = F.grid_sample(
            x, grid, mode='bilinear', padding_mode='zeros', align_corners=False
        )
        total = total + weight[:, :, tap // 3, tap % 3] @ sampled.flatten(2)
    return total.view(batch, -1, height, width)


class SharedSemanticHead(nn.Module):
    """3x3 convolutions with ReLU shared by P2 to P5, concatenated at stride 4.

    Args:
        inputs: channels of the pyramid.
        widths: channels of the convolutions.
        deformable: whether the convolutions are deformable; plain ones are cheaper.
    """

    def __init__(self, inputs: int, widths: Sequence[int], deformable: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((inputs, *widths), widths, strict=False):
            layers += [
                DeformableConv(before, after)
                if deformable
                else nn.Conv2d(before, after, 3, padding=1),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Compute maps at strides 4 to 32 -> (B, 4 * widths[-1], H/4, W/4)."""
        features = [self.layers(level) for level in levels]
        return torch.cat(
            [
                f if i == 0 else F.interpolate(f, scale_factor=2.0**i, mode='bilinear')
                for i, f in enumerate(features)
            ],
            dim=1,
        )
