# SPDX-License-Identifier: Apache-2.0
"""Network of EINet: Panoptic-DeepLab with interacting embeddings.

Embedding-Interaction based Panoptic Segmentation. Only the supplement of this paper was available:
what is marked "inferred" is a design based on it, not a description of the paper.
"""

import math

import torch
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.config import MAP_STRIDE, NEVER
from panoptic_ros.models.einet.config import EINetConfig
from panoptic_ros.models.panoptic_deeplab.decode import Grouping
from panoptic_ros.models.panoptic_deeplab.network import CenterMaps, PanopticDeepLab
from panoptic_ros.models.parts.layers import upsample
from panoptic_ros.models.parts.segments import standardized


class EINet(PanopticDeepLab):
    """Panoptic-DeepLab with interacting embeddings and a map of centres for each thing class.

    The buffer `dictionary` (C, D_s) holds the mean semantic embedding of each class. Training
    updates it (`losses.einet.update_dictionary`), inference reads it (inferred); the row of a
    class that never occurred is zero.
    """

    family = 'einet'
    embedding_kind = 'standardized instance embedding at the centre'

    dictionary: Tensor
    config: EINetConfig

    def __init__(self, labels: LabelSet, config: EINetConfig) -> None:
        if not labels.is_thing.any():
            raise ValueError('einet needs at least one thing class, the labels have none')
        super().__init__(labels, config)
        self.nms_across_maps = config.nms_across_classes
        semantic, instance = config.decoder_channels, config.instance_channels
        if config.interaction in ('s2i', 'both'):
            self.register_buffer('dictionary', torch.zeros(len(labels), semantic))
            self.to_instance = SemanticToInstance(semantic, instance, config.interaction_channels)
        if config.interaction in ('i2s', 'both'):
            self.to_semantic = InstanceToSemantic(instance, semantic)

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding in the instance table."""
        return self.config.instance_channels

    def make_parts(self) -> None:
        """Create network and heads; the instance branch is lighter."""
        config = self.config
        self.network = self.make_network(config.lowlevel_fusion, config.instance_aspp)
        self.predict = self.make_heads(
            (config.decoder_channels, config.instance_channels), int(self.labels.is_thing.sum())
        )
        if config.heatmap_loss == 'focal':  # as in CenterNet's code: p = 0.1 everywhere
            nn.init.constant_(self.predict.center.out.bias, -2.19)  # type: ignore[arg-type]

    def maps(self, image: Tensor, stride: int = MAP_STRIDE) -> CenterMaps:
        """Compute the dense predictions; see `PanopticDeepLab.maps`.

        There is a heatmap for each thing class, in their order. Heatmaps stay at stride 4, where
        their targets are drawn.
        """
        return self.maps_of(*self.embeddings(image), stride)

    def embeddings(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute E_s (B, D_s, H/4, W/4) and E_i (B, D_i, H/4, W/4), before they interact."""
        semantic, instance, _ = self.network(self.normalize(image))
        return semantic, instance

    def maps_of(self, semantic: Tensor, instance: Tensor, stride: int) -> CenterMaps:
        """Compute maps from the embeddings, each enhanced by the other's original."""
        enhanced = self.enhanced_semantic(semantic, instance)
        instance = self.enhanced_instance(instance)
        logits, heatmap, offset = self.predict(enhanced, instance)
        return CenterMaps(
            upsample(logits, stride), heatmap, upsample(offset, stride) * MAP_STRIDE, instance
        )

    def enhanced_semantic(self, semantic: Tensor, instance: Tensor) -> Tensor:
        """Compute E_s' from E_s and E_i; E_s itself without this interaction."""
        if self.config.interaction not in ('i2s', 'both'):
            return semantic
        return self.to_semantic(semantic, instance)

    def enhanced_instance(self, instance: Tensor) -> Tensor:
        """Compute E_i' from E_i and the dictionary; E_i itself without this interaction."""
        if self.config.interaction not in ('s2i', 'both'):
            return instance
        return self.to_instance(instance, self.dictionary)

    def center_heights(self, maps: CenterMaps) -> Tensor:
        """Return the heatmaps on a scale of 0 to 1, (B, C_thing, h, w)."""
        heatmap = maps.center_heatmap
        return heatmap.sigmoid() if self.config.heatmap_loss == 'focal' else heatmap

    def embed(self, maps: CenterMaps, rows: Grouping) -> Tensor:
        """Read E_i' at the centres, (S, D); stuff rows, which have no centre, are zero."""
        feature = standardized(maps.feature[0]).flatten(1).T  # (N, D)
        stuff = feature.new_zeros(len(self.labels), feature.shape[1])
        return torch.cat([feature.index_select(0, rows.center), stuff])


class SemanticToInstance(nn.Module):
    """Attention of instances to classes (inferred).

    E_i' = E_i + W_o(A W_v Q) with A = softmax_j((W_q E_i)(W_k Q_j) / sqrt(d)).

    Args:
        semantic: channels of the dictionary Q.
        instance: channels of E_i.
        channels: d, the channels of queries, keys and values.
    """

    def __init__(self, semantic: int, instance: int, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(instance, channels, 1)
        self.key = nn.Linear(semantic, channels, bias=False)
        self.value = nn.Linear(semantic, channels, bias=False)
        self.out = nn.Conv2d(channels, instance, 1)

    def forward(self, embedding: Tensor, dictionary: Tensor) -> Tensor:
        """Compute E_i' from E_i (B, D_i, h, w) and Q (C, D_s); zero rows of Q take no part."""
        query = self.query(embedding)
        batch, channels, height, width = query.shape
        seen = dictionary.abs().sum(dim=1, keepdim=True) > 0  # (C, 1)
        key = (self.key(dictionary) / math.sqrt(channels)).expand(batch, -1, -1)
        value = self.value(dictionary).T.expand(batch, -1, -1)  # (B, d, C)
        logits = torch.where(seen, torch.bmm(key, query.flatten(2)), NEVER)  # (B, C, N)
        context = torch.bmm(value, logits.softmax(dim=1))
        return embedding + self.out(context.view(batch, channels, height, width))


class InstanceToSemantic(nn.Module):
    """Gated update of semantic embeddings: E_s' = E_s + sigmoid(G(E_i)) * U(E_i) (inferred)."""

    def __init__(self, instance: int, semantic: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(instance, semantic, 1)
        self.update = nn.Conv2d(instance, semantic, 1)

    def forward(self, semantic: Tensor, instance: Tensor) -> Tensor:
        """Compute E_s' (B, D_s, h, w) from E_s and E_i (B, D_i, h, w)."""
        return semantic + self.gate(instance).sigmoid() * self.update(instance)
