# SPDX-License-Identifier: Apache-2.0
"""FCOS head: a box, a class and a centre-ness at each location of a pyramid.

Tian et al., FCOS: Fully convolutional one-stage object detection, ICCV 2019.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from panoptic_ros.models.parts.layers import conv_gn_relu

STRIDES = (8, 16, 32, 64, 128)
"""Strides of P3 to P7."""

PRIOR = 0.01
"""Probability of each class that an untrained head predicts."""

MAX_LOG_PX = 10.0
"""Upper bound of the logarithm of a distance in px, which keeps distances finite."""


class FCOSMaps(NamedTuple):
    """Outputs of the head, a tensor for each level; h and w are those of the level."""

    class_logits: list[Tensor]
    """(B, classes, h, w)"""

    box: list[Tensor]
    """Distances from the location to the box's sides (left, top, right, bottom), input px,
    (B, 4, h, w)."""

    centerness_logits: list[Tensor]
    """(B, 1, h, w)"""

    embedding: list[Tensor]
    """(B, D, h, w); empty if the head has none."""


class FCOSHead(nn.Module):
    """Two towers shared by all levels: one for classes, one for box, centre-ness, embedding.

    Args:
        channels: channels of the pyramid and the towers.
        depth: convolutions of a tower.
        num_classes: number of thing classes.
        embedding_dim: channels of the box embedding; 0 for none.
    """

    def __init__(self, channels: int, depth: int, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.class_tower, self.box_tower = (
            nn.Sequential(*(conv_gn_relu(channels, channels) for _ in range(depth)))
            for _ in range(2)
        )
        self.class_logits = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        self.embedding = (
            nn.Conv2d(channels, embedding_dim, 3, padding=1) if embedding_dim else None
        )
        init_convolutions(self)
        assert self.class_logits.bias is not None and self.box.bias is not None
        nn.init.constant_(self.class_logits.bias, -math.log((1 - PRIOR) / PRIOR))
        # An untrained head then predicts boxes with a side of 4 cells (inferred), not of 2 px.
        self.scale = nn.Parameter(torch.tensor(STRIDES).mul(2).log())
        nn.init.ones_(self.box.bias)

    def forward(self, levels: Sequence[Tensor]) -> FCOSMaps:
        """Compute the outputs on P3 to P7, (B, channels, h, w) each."""
        outputs = FCOSMaps([], [], [], [])
        for level, x in enumerate(levels):
            by_class, by_box = self.class_tower(x), self.box_tower(x)
            outputs.class_logits.append(self.class_logits(by_class))
            log_px = self.scale[level] * self.box(by_box)
            outputs.box.append(log_px.float().clamp(max=MAX_LOG_PX).exp())
            outputs.centerness_logits.append(self.centerness(by_box))
            if self.embedding is not None:
                outputs.embedding.append(self.embedding(by_box))
        return outputs


def init_convolutions(module: nn.Module) -> None:
    """Initialise all convolutions of a module as RetinaNet initialises its heads."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def locations(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Return the (x, y) of a level's cells, s / 2 + i * s input px, row by row, (h * w, 2)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing='ij'
    )
    return torch.stack([x, y], dim=-1).view(-1, 2) * stride + stride // 2


def by_location(levels: Sequence[Tensor]) -> Tensor:
    """Concatenate the levels' maps (B, C, h, w) to (B, L, C), L being all locations."""
    return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)
