# SPDX-License-Identifier: Apache-2.0
"""Feature pyramids on timm backbones, and the semantic branch of Panoptic FPN.

Lin et al., Feature Pyramid Networks, CVPR 2017; Kirillov et al., Panoptic Feature Pyramid
Networks, CVPR 2019.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from panoptic_ros.models.parts.backbone import (
    LEVEL_STRIDES,
    batch_norms,
    feature_maps,
    freeze,
    level_indices,
    make_backbone,
)
from panoptic_ros.models.parts.layers import conv_gn_relu


class FPN(nn.Module):
    """Feature maps of one width at strides 4, 8, 16, 32 and, with `top`, coarser ones.

    Args:
        backbone: any timm model with features at strides 4, 8, 16 and 32.
        channels: channels of each map.
        top: levels above P5: `none`, `pool` (P6 at stride 64, as in Mask R-CNN) or `p6p7`
            (convolutions on P5 to strides 64 and 128, as in FCOS).
        context: whether a linear layer of the coarsest map's mean is added to P5.
        pool_scales: bins along a side of the grids that the coarsest map is pooled to before
            P5, as in UPerNet; () for none.
        frozen_stem: whether the backbone up to stride 4 is frozen.
        frozen_batch_norm: whether the backbone's batch norms are frozen, statistics included.

    Raises:
        ValueError: if the backbone lacks these features, or `top` is unknown.
    """

    def __init__(
        self,
        backbone: str,
        channels: int = 256,
        top: str = 'none',
        context: bool = False,
        pool_scales: tuple[int, ...] = (),
        frozen_stem: bool = False,
        frozen_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        extras: dict[str, Any] = {
            'none': None,
            'pool': LastLevelMaxPool(),
            'p6p7': LastLevelP6P7(channels, channels),
        }
        if top not in extras:
            raise ValueError(f'fpn top must be one of {", ".join(extras)}, got {top!r}')
        self.backbone = make_backbone(backbone)
        features: Any = self.backbone.feature_info
        self.indices = level_indices(self.backbone, backbone)
        widths = [features.channels()[i] for i in self.indices]
        kind = ContextFPN if context else FeaturePyramidNetwork
        self.pyramid = kind(widths, channels, extras[top])
        if pool_scales:
            self.pyramid.inner_blocks[-1] = PyramidPooling(widths[-1], channels, pool_scales)
        self.frozen_batch_norm = frozen_batch_norm
        freeze(self.backbone, LEVEL_STRIDES[0] if frozen_stem else 0, frozen_batch_norm)

    def train(self, mode: bool = True) -> 'FPN':
        """Set the mode of all parts except frozen batch norms."""
        super().train(mode)
        if self.frozen_batch_norm:
            for norm in batch_norms(self.backbone):
                norm.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute (B, 3, H, W) normalised -> maps (B, channels, H/s, W/s) from stride 4 up."""
        features = feature_maps(self.backbone, image)
        levels = {str(i): features[i] for i in self.indices}
        return list(self.pyramid(levels).values())


class ContextFPN(FeaturePyramidNetwork):
    """Pyramid with Linear(GAP(res5)) added to P5's lateral connection, as in UPSNet on COCO."""

    def __init__(self, widths: list[int], channels: int, extra_blocks: Any) -> None:
        super().__init__(widths, channels, extra_blocks)
        self.context = nn.Linear(widths[-1], channels)

    def get_result_from_inner_blocks(self, x: Tensor, idx: int) -> Tensor:
        """Compute the lateral connection `idx`, counted from the end if negative."""
        lateral = super().get_result_from_inner_blocks(x, idx)
        if idx != -1:
            return lateral
        return lateral + self.context(x.mean(dim=(2, 3)))[:, :, None, None]


class PyramidPooling(nn.Module):
    """A map and its means over grids of bins, fused (Zhao et al., PSPNet, CVPR 2017).

    Args:
        inputs: channels of the map.
        outputs: channels of the means and of the result.
        scales: bins along a side of each grid.
    """

    def __init__(self, inputs: int, outputs: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = tuple(scales)
        # No batch norm: one bin is one value per image, and a batch may be one image.
        self.reduce = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)) for _ in scales]
        )
        self.fuse = conv_gn_relu(inputs + len(self.scales) * outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, inputs, h, w) -> (B, outputs, h, w)."""
        size = (x.shape[2], x.shape[3])
        means = [
            F.interpolate(reduce(bin_means(x, scale)), size=size, mode='bilinear')
            for reduce, scale in zip(self.reduce, self.scales, strict=True)
        ]
        return self.fuse(torch.cat([x, *means], dim=1))


def bin_means(x: Tensor, bins: int) -> Tensor:
    """Compute `adaptive_avg_pool2d` -> (B, C, bins, bins) as two matrix products.

    Engines lack that operator.
    """

    def weights(count: int) -> Tensor:
        """Return (bins, count); bin i covers floor(i n / bins) to ceil((i + 1) n / bins)."""
        number = torch.arange(bins, device=x.device)[:, None]
        place = torch.arange(count, device=x.device)
        member = (place >= number * count // bins) & (place < -(-(number + 1) * count // bins))
        return member.to(x.dtype) / member.sum(dim=1, keepdim=True)

    return weights(x.shape[2]) @ x @ weights(x.shape[3]).T


class FusedLevels(nn.Module):
    """Fusion of P2 to P5, concatenated at stride 4, by a 3x3 convolution (UPerNet).

    Args:
        inputs: channels of the pyramid.
        channels: channels of the result.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.fuse = conv_gn_relu(len(LEVEL_STRIDES) * inputs, channels)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Compute maps at strides 4 to 32 -> (B, channels, H/4, W/4)."""
        size = levels[0].shape[2:]
        return self.fuse(
            torch.cat(
                [
                    x if i == 0 else F.interpolate(x, size=size, mode='bilinear')
                    for i, x in enumerate(levels)
                ],
                dim=1,
            )
        )


class SemanticFPN(nn.Module):
    """Sum of P2 to P5, each brought to stride 4 by convolutions and 2x upsampling.

    P2 and P3 have one convolution, P4 two and P5 three, each 3x3 with group norm and ReLU. From
    P3 on, bilinear 2x upsampling follows each of them (Panoptic FPN, section 3.2).

    Args:
        inputs: channels of the pyramid.
        channels: channels of the sum.
        coordinates: whether P5's convolutions receive each cell's coordinates (CoordConv; Liu et
            al., 2018).
    """

    def __init__(self, inputs: int, channels: int = 128, coordinates: bool = False) -> None:
        super().__init__()
        self.coordinates = coordinates
        places = [0, 0, 0, 2 if coordinates else 0]
        self.stages = nn.ModuleList(
            [
                nn.ModuleList(
                    [
                        conv_gn_relu((inputs if i == 0 else channels) + places[level], channels)
                        for i in range(max(1, level))
                    ]
                )
                for level in range(len(LEVEL_STRIDES))
            ]
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Compute maps at strides 4 to 32 (others are ignored) -> (B, channels, H/4, W/4)."""
        total: Tensor | None = None
        for stage, x in zip(self.stages, levels, strict=False):
            for conv in stage:  # type: ignore[attr-defined]
                if self.coordinates and stage is self.stages[-1]:
                    x = with_coordinates(x)
                x = conv(x)
                if stage is not self.stages[0]:
                    x = F.interpolate(x, scale_factor=2.0, mode='bilinear')
            total = x if total is None else total + x
        assert total is not None
        return total


def with_coordinates(x: Tensor) -> Tensor:
    """Append each cell's x and y, -1 to 1: (B, C, h, w) -> (B, C + 2, h, w)."""
    batch, _, height, width = x.shape
    across = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype)
    down = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)[:, None]
    place = torch.stack([across.expand(height, width), down.expand(height, width)])
    return torch.cat([x, place.expand(batch, 2, height, width)], dim=1)
