# SPDX-License-Identifier: Apache-2.0
"""Block of PISR: encodings of classes and instances, weighted and related to all pixels.

What is marked "inferred" is a design based on the paper's supplement, see `pisr/__init__.py`. The
block is independent of the base: its inputs are features, a map for each class and a heatmap for
each instance, which come from centres, predicted masks or mask queries.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.layers import conv_bn_relu
from panoptic_ros.models.parts.precision import at_least_float32, full_precision
from panoptic_ros.models.pisr.config import PISRBlockConfig


def semantic_encodings(features: Tensor, class_maps: Tensor) -> Tensor:
    """Compute the mean feature of each class, weighted by its map (inferred).

    The weights are the softmax of the map over all pixels.

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
    """Compute the mean feature of each instance, weighted by its heatmap (inferred).

    Args:
        features: (B, D, h, w).
        heatmaps: at least 0, (B, K, h, w).
        eps: added to the sum of the weights.

    Returns:
        (B, K, D), 0 for a heatmap of zeros.
    """
    with full_precision(features):
        weight = at_least_float32(heatmaps).flatten(2)
        total = torch.bmm(weight, at_least_float32(features).flatten(2).transpose(1, 2))
        return total / (weight.sum(dim=2, keepdim=True) + eps)


def correlate(rows: Tensor, columns: Tensor, kind: str) -> Tensor:
    """Compute the similarity of each row of one matrix and each column of another.

    The supplement names the three kinds; their operands and the sign are inferred.

    Args:
        rows: (B, R, M).
        columns: (B, M, P).
        kind: `matmul`, `cosine` or `l2`, the negated distance.

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
    """Reweighting of the encodings (supplement, B.1).

    `explicit`: sigmoid(MLP(E)) * E; `implicit`: MLP(E); `separated`: classes and instances each
    through their own linear layer, then MLP. The MLP works on each row, all its layers have the
    same width, and ReLU follows the hidden ones (inferred).

    Args:
        channels: D, the width of all layers.
        kind: one of REWEIGHTINGS.
        hidden_layers: number of hidden layers of the MLP.
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
        """Compute (B, C + K, D) from (B, C, D), or None for C = 0, and (B, K, D)."""
        if self.kind == 'separated':
            instance = self.instance(instance)
            semantic = semantic if semantic is None else self.semantic(semantic)
        encodings = instance if semantic is None else torch.cat([semantic, instance], dim=1)
        output: Tensor = self.mlp(encodings)
        return output.sigmoid() * encodings if self.kind == 'explicit' else output


class PISRBlock(nn.Module):
    """Panoptic relational attention: features related to the classes and instances of the image.

    F_sp = g_s(E) h(F) and F_pan = g_p(E^T) h(F_sp). The weights of h(F) and h(F_sp) differ: F has
    D channels, and F_sp is N maps of one, which share theirs, so that neither the number nor the
    order of the encodings matters (inferred). Inferred are also: the forms of g_s, g_p and h,
    gradients into the encodings, the 1x1 convolution that fuses F with the result of the
    attention, and the softmax, whose scale 1 / sqrt(D) applies to products only.

    Args:
        channels: D, the width of features, encodings and all layers.
        reweight: one of REWEIGHTINGS.
        hidden_layers: number of hidden layers of the reweighting's MLP.
        f1: correlation of encodings and features, one of CORRELATIONS.
        f2: correlation of encodings and the spatial maps, the result of f1.
        spatial_softmax: whether a softmax over the encodings follows f1 (inferred).
        spatial_h: whether h is applied to F_sp, as in the formula.
    """

    def __init__(
        self,
        channels: int = 256,
        reweight: str = 'explicit',
        hidden_layers: int = 2,
        f1: str = 'matmul',
        f2: str = 'matmul',
        spatial_softmax: bool = True,
        spatial_h: bool = False,
    ) -> None:
        super().__init__()
        self.f1, self.f2, self.spatial_softmax = f1, f2, spatial_softmax
        self.reweight = Reweighting(channels, reweight, hidden_layers)
        self.spatial = nn.Linear(channels, channels)  # g_s
        self.panoptic = nn.Linear(channels, channels)  # g_p
        self.project = conv_bn_relu(channels, channels)  # h of F
        self.project_spatial = conv_bn_relu(1, 1) if spatial_h else None  # h of F_sp
        self.fuse = conv_bn_relu(2 * channels, channels)

    @classmethod
    def from_config(cls, config: PISRBlockConfig) -> 'PISRBlock':
        """Build the block that the configuration's switches describe."""
        return cls(
            config.block_channels,
            config.reweight,
            config.hidden_layers,
            config.f1,
            config.f2,
            config.spatial_softmax,
            config.spatial_h,
        )

    def forward(
        self, features: Tensor, class_maps: Tensor | None, heatmaps: Tensor, alive: Tensor
    ) -> Tensor:
        """Relate the features to the encodings of classes and instances.

        Args:
            features: F, (B, D, h, w).
            class_maps: logits of the classes, (B, C, h, w); None, with C = 0, if the heatmaps
                cover stuff as well.
            heatmaps: place of each instance, at least 0, (B, K, h, w).
            alive: heatmaps that belong to an instance; others take no part, (B, K) bool.

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
            if self.f1 == 'matmul':  # scaled dot product
                spatial = spatial / math.sqrt(query.shape[1])
            spatial = torch.where(present, spatial, NEVER).softmax(dim=1)
        spatial = spatial * present
        if self.project_spatial is not None:
            # (B, 1, N, hw): one channel, which all maps share
            spatial = self.project_spatial(spatial.to(features.dtype)[:, None])[:, 0] * present
        rows = (self.panoptic(encodings) * present).transpose(1, 2)  # (B, D, N)
        related = correlate(rows, spatial, self.f2).view_as(query)
        return self.fuse(torch.cat([features, related.to(features.dtype)], dim=1))
