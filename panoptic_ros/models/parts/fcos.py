# SPDX-License-Identifier: Apache-2.0
"""FCOS: a box, a class and a centre-ness at each location of a pyramid's levels.

Tian et al., FCOS: Fully convolutional one-stage object detection, ICCV 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from panoptic_ros.models.parts.layers import conv_gn_relu

STRIDES = (8, 16, 32, 64, 128)
"""Strides of P3 to P7."""

PRIOR = 0.01
"""What an untrained head takes the probability of each class to be."""

MAX_LOG_PX = 10.0
"""Upper bound of the logarithm of a distance in px, so that none is infinite."""


class FCOSMaps(NamedTuple):
    """The head's answers, a tensor for each level; h and w are those of the level."""

    class_logits: list[Tensor]
    """(B, classes, h, w)"""

    box: list[Tensor]
    """Distances from the location to the box's sides (left, top, right, bottom), input px,
    (B, 4, h, w)."""

    centerness_logits: list[Tensor]
    """(B, 1, h, w)"""

    embedding: list[Tensor]
    """(B, D, h, w); empty for a head without."""


class FCOSHead(nn.Module):
    """Two towers, shared by the levels: one for classes, one for box, centre-ness and embedding.

    Args:
        channels: of the pyramid and the towers.
        depth: convolutions of a tower.
        num_classes: thing classes.
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
        # An untrained head then answers boxes of 4 cells a side (inferred), not of 2 px.
        self.scale = nn.Parameter(torch.tensor(STRIDES).mul(2).log())
        nn.init.ones_(self.box.bias)

    def forward(self, levels: Sequence[Tensor]) -> FCOSMaps:
        """Maps (B, channels, h, w) of P3 to P7."""
        answers = FCOSMaps([], [], [], [])
        for level, x in enumerate(levels):
            by_class, by_box = self.class_tower(x), self.box_tower(x)
            answers.class_logits.append(self.class_logits(by_class))
            log_px = self.scale[level] * self.box(by_box)
            answers.box.append(log_px.float().clamp(max=MAX_LOG_PX).exp())
            answers.centerness_logits.append(self.centerness(by_box))
            if self.embedding is not None:
                answers.embedding.append(self.embedding(by_box))
        return answers


def init_convolutions(module: nn.Module) -> None:
    """Starts all convolutions in it as RetinaNet starts its heads."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def locations(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Where a level's cells look: (x, y) = s / 2 + i * s in input px, row by row, (h * w, 2)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing='ij'
    )
    return torch.stack([x, y], dim=-1).view(-1, 2) * stride + stride // 2


def by_location(levels: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) of the levels in a row: (B, L, C), L all their locations."""
    return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)
