# SPDX-License-Identifier: Apache-2.0
"""PISR's block: encodings of classes and instances, weighed and related to all pixels.

Panoptic, Instance and Semantic Relations. Of this paper only the supplement was at hand: what is
marked "inferred" is a design after it, not a record of it. The block knows no family: it takes
features, a map for each class and a heatmap for each instance, from centres, from predicted
masks or from mask queries.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.layers import conv_bn_relu
from panoptic_ros.models.parts.precision import at_least_float32, full_precision
from panoptic_ros.models.pisr.config import PISRBlockConfig


def semantic_encodings(features: Tensor, class_maps: Tensor) -> Tensor:
    """Mean feature of each class, weighted by the softmax over pixels of its map (inferred).

    Args:
        features: (B, D, h, w).
        class_maps: logits, (B, C, h, w).

    Returns:
        (B, C, D)
    """
    with full_precision(features):
        weight = at_least_float32(class_maps).flatten(2).softmax(dim=2)
        return torch.bmm(weight, at_least_float32(features).flatten(2).transpose(1, 2))


def instance_encodings(features: Tensor, heatmaps: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean feature of each instance, weighted by its heatmap (inferred).

    Args:
        features: (B, D, h, w).
        heatmaps: not negative, (B, K, h, w).
        eps: added to the sum of the weights.

    Returns:
        (B, K, D), 0 for a heatmap of zeros.
    """
    with full_precision(features):
        weight = at_least_float32(heatmaps).flatten(2)
        total = torch.bmm(weight, at_least_float32(features).flatten(2).transpose(1, 2))
        return total / (weight.sum(dim=2, keepdim=True) + eps)


def correlate(rows: Tensor, columns: Tensor, kind: str) -> Tensor:
    """How alike each row of one matrix and each column of another are.

    The supplement names the three kinds; what they compare, and the sign, are inferred.

    Args:
        rows: (B, R, M).
        columns: (B, M, P).
        kind: `matmul`, `cosine`, or `l2`, the negated distance.

    Returns:
        (B, R, P)
    """
    if kind == 'cosine':
        return torch.bmm(F.normalize(rows, dim=2), F.normalize(columns, dim=1))
    product = torch.bmm(rows, columns)
    if kind == 'matmul':
        return product
    square = rows.square().sum(dim=2, keepdim=True) + columns.square().sum(dim=1, keepdim=True)
    return -(square - 2 * product).clamp(min=1e-6).sqrt()


class Reweighting(nn.Module):
    """Says how much each encoding matters (supplement, B.1).

    `explicit`: sigmoid(MLP(E)) * E; `implicit`: MLP(E); `separated`: classes and instances each
    through a linear layer of their own, then MLP. It works row by row, all layers have the same
    width, and ReLU follows the hidden ones (inferred).

    Args:
        channels: D, of all layers.
        kind: which of them.
        hidden_layers: of the MLP, with ReLU.
    """

    def __init__(self, channels: int, kind: str, hidden_layers: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == 'separated':
            self.semantic = nn.Linear(channels, channels)
            self.instance = nn.Linear(channels, channels)
        hidden = [
            layer
            for _ in range(hidden_layers)
            for layer in (nn.Linear(channels, channels), nn.ReLU(inplace=True))
        ]
        self.mlp = nn.Sequential(*hidden, nn.Linear(channels, channels))

    def forward(self, semantic: Tensor | None, instance: Tensor) -> Tensor:
        """(B, C, D), or None for C = 0, and (B, K, D) -> (B, C + K, D)."""
        if self.kind == 'separated':
            instance = self.instance(instance)
            semantic = semantic if semantic is None else self.semantic(semantic)
        encodings = instance if semantic is None else torch.cat([semantic, instance], dim=1)
        output: Tensor = self.mlp(encodings)
        return output.sigmoid() * encodings if self.kind == 'explicit' else output


class PISRBlock(nn.Module):
    """Features to features that know of the classes and instances in the image.

    What g_s, g_p and h are, that gradients flow into the encodings, and that a 1x1 convolution
    fuses F with what comes of the attention, is inferred; so is the softmax, whose 1 / sqrt(D)
    only products need.

    Args:
        channels: D of features, encodings and all layers.
        reweight: one of REWEIGHTINGS.
        hidden_layers: of the reweighting's MLP.
        f1: correlation of encodings and features, one of CORRELATIONS.
        f2: correlation of encodings and the spatial maps that come of it.
        spatial_softmax: a softmax over the encodings between both (inferred); without it the
            correlations go on as they are, the supplement's literal reading.
    """

    def __init__(
        self,
        channels: int = 256,
        reweight: str = 'explicit',
        hidden_layers: int = 2,
        f1: str = 'matmul',
        f2: str = 'matmul',
        spatial_softmax: bool = True,
    ) -> None:
        super().__init__()
        self.f1, self.f2, self.spatial_softmax = f1, f2, spatial_softmax
        self.reweight = Reweighting(channels, reweight, hidden_layers)
        self.spatial = nn.Linear(channels, channels)  # g_s
        self.panoptic = nn.Linear(channels, channels)  # g_p
        self.project = conv_bn_relu(channels, channels)  # h
        self.fuse = conv_bn_relu(2 * channels, channels)

    @classmethod
    def from_config(cls, config: PISRBlockConfig) -> PISRBlock:
        """Build the block that the configuration's switches describe."""
        return cls(
            config.block_channels,
            config.reweight,
            config.hidden_layers,
            config.f1,
            config.f2,
            config.spatial_softmax,
        )

    def forward(
        self, features: Tensor, class_maps: Tensor | None, heatmaps: Tensor, alive: Tensor
    ) -> Tensor:
        """Panoptic relational attention over the encodings of classes and instances.

        Args:
            features: F, (B, D, h, w).
            class_maps: logits of the classes, (B, C, h, w); None where the heatmaps are of
                stuff too, C is 0 then.
            heatmaps: where each instance is, not negative, (B, K, h, w).
            alive: which of them are instances; the others take no part, (B, K) bool.

        Returns:
            (B, D, h, w)
        """
        instance = instance_encodings(features, heatmaps) * alive[:, :, None]
        semantic = None if class_maps is None else semantic_encodings(features, class_maps)
        encodings = self.reweight(semantic, instance)  # (B, N, D) with N = C + K
        present = (
            alive
            if semantic is None
            else torch.cat([torch.ones_like(semantic[:, :, 0], dtype=torch.bool), alive], dim=1)
        )
        present = present[:, :, None]  # (B, N, 1)

        query = self.project(features)
        spatial = correlate(self.spatial(encodings), query.flatten(2), self.f1)  # (B, N, hw)
        if self.spatial_softmax:
            if self.f1 == 'matmul':  # as ever where the longer vectors have the larger products
                spatial = spatial / math.sqrt(query.shape[1])
            spatial = torch.where(present, spatial, NEVER).softmax(dim=1)
        spatial = spatial * present
        rows = (self.panoptic(encodings) * present).transpose(1, 2)  # (B, D, N)
        related = correlate(rows, spatial, self.f2).view_as(query)
        return self.fuse(torch.cat([features, related.to(features.dtype)], dim=1))
