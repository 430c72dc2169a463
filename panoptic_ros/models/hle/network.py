# SPDX-License-Identifier: Apache-2.0
"""Network of HLE: DeepLabV3+ that predicts one embedding per pixel.

Kerola et al., Hierarchical Lovász Embeddings for Proposal-free Panoptic Segmentation, CVPR 2021.
What the paper leaves open is marked "inferred" and is a configuration key.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.hle import decode as hle_decode
from panoptic_ros.models.hle.config import HLEConfig
from panoptic_ros.models.hle.thomson import thomson
from panoptic_ros.models.parts.deeplab import DeepLabV3Plus
from panoptic_ros.models.parts.layers import upsample


class HLEMaps(NamedTuple):
    """Dense predictions at stride 4."""

    embedding: Tensor
    """(B, D, h, w), unit length over D (over each half if the space is split)."""

    log_sigma: Tensor
    """Log of the instance deviation, (B, h, w)."""

    seed_logits: Tensor
    """(B, h, w)"""

    semantic_logits: Tensor | None
    """(B, C, h, w), with `seg_branch` only."""

    spatial_log_sigma: Tensor
    """Log of the spatial deviation in units of `position_scale`, () or (B, h, w)."""


class HLE(PanopticModel):
    """DeepLabV3+ with an embedding head and learned class means.

    Further parameters: `semantic_mean` (C, D) of unit rows, `semantic_log_sigma` (C,) and
    `spatial_log_sigma` ().
    """

    family = 'hle'
    embedding_kind = "embedding at the instance's seed, its mask's mean with refine"
    heads = ('head',)

    def __init__(self, labels: LabelSet, config: HLEConfig) -> None:
        super().__init__(labels, config)
        self.config: HLEConfig
        num_classes = len(labels)
        self.network = DeepLabV3Plus(
            config.backbone,
            config.output_stride,
            config.aspp_channels,
            config.low_level_channels,
            config.decoder_channels,
            config.separable,
        )
        self.channels = [
            config.embedding_dim,
            1,
            1,
            1 if config.spatial_sigma == 'predicted' else 0,
            num_classes if config.seg_branch else 0,
        ]
        self.head = nn.Conv2d(config.decoder_channels, sum(self.channels), 1)
        start = math.log(config.spatial_sigma_init)
        self.spatial_log_sigma = nn.Parameter(torch.tensor(start))
        # The logits of psi then span 0 to -11, as in an untrained cosine classifier (inferred).
        self.semantic_log_sigma = nn.Parameter(torch.full((num_classes,), math.log(0.3)))
        dim = config.embedding_dim // (2 if config.space == 'split' else 1)
        self.semantic_mean = nn.Parameter(
            thomson(num_classes, dim)
            if config.thomson_start
            else F.normalize(torch.randn(num_classes, dim), dim=1)
        )

    @property
    def embedding_dim(self) -> int:
        """D of the instance table: the part of the space that separates instances."""
        dim = self.config.embedding_dim
        return dim // 2 if self.config.space == 'split' else dim

    def renormalize(self) -> None:
        """Project the class means onto the unit sphere."""
        with torch.no_grad():
            self.semantic_mean.copy_(F.normalize(self.semantic_mean, dim=1))

    def split(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (semantic, instance) parts of (B, D, ...); both are the whole in `hier`."""
        if self.config.space == 'split':
            semantic, instance = embedding.chunk(2, dim=1)
            return semantic, instance
        return embedding, embedding

    def unit_length(self, embedding: Tensor) -> Tensor:
        """Scale (B, D, ...) to unit length over D, or over each half if the space is split."""
        parts = embedding.chunk(2, dim=1) if self.config.space == 'split' else (embedding,)
        return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)

    def raw_maps(self, image: Tensor) -> Tensor:
        """Compute the head's unconstrained output, (B, sum(channels), H/4, W/4)."""
        return self.head(self.network(self.normalize(image)))

    def constrain(self, raw: Tensor) -> HLEMaps:
        """Split the head's channels into named maps of unit-length embeddings, at any stride."""
        embedding, log_sigma, seed, spatial, semantic = raw.split(self.channels, dim=1)
        return HLEMaps(
            embedding=self.unit_length(embedding),
            log_sigma=log_sigma.squeeze(1),
            seed_logits=seed.squeeze(1),
            semantic_logits=semantic if self.config.seg_branch else None,
            spatial_log_sigma=(
                self.spatial_log_sigma + spatial.squeeze(1)
                if self.config.spatial_sigma == 'predicted'
                else self.spatial_log_sigma
            ),
        )

    def maps(self, image: Tensor, stride: int = MAP_STRIDE) -> HLEMaps:
        """Compute the dense predictions.

        Args:
            image: RGB, 0 to 255, (B, 3, H, W).
            stride: input pixels per cell; below 4 the head's output is upsampled bilinearly.
        """
        return self.constrain(upsample(self.raw_maps(image), stride))

    def maps_to_decode(self, batch: Tensor) -> HLEMaps:
        """See `PanopticModel.maps_to_decode`."""
        maps = self.maps(batch, self.config.stride)
        if self.config.flip:
            mirrored = self.maps(batch.flip(3), self.config.stride)
            maps = self.average_flipped(maps, mirrored)
        return maps

    def average_flipped(self, maps: HLEMaps, mirrored: HLEMaps) -> HLEMaps:
        """Average maps with those of the mirrored image; embeddings stay of unit length.

        The paper flips at test time; that the maps are averaged is inferred.
        """
        values = {
            name: (value + getattr(mirrored, name).flip(-1)) / 2
            for name, value in maps._asdict().items()
            if value is not None and value.dim()
        }
        values['embedding'] = self.unit_length(values['embedding'])
        return maps._replace(**values)

    def decode(self, maps: HLEMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode maps (B = 1) at stride `config.stride`; see `hle/decode.py`."""
        semantic, instance = (part.squeeze(0) for part in self.split(maps.embedding))
        class_mean = F.normalize(self.semantic_mean, dim=1)
        if maps.semantic_logits is None:
            class_logits = hle_decode.class_logits(semantic, class_mean, self.semantic_log_sigma)
        else:
            class_logits = maps.semantic_logits.squeeze(0)
        return hle_decode.decode(
            instance,
            maps.log_sigma.squeeze(0),
            maps.seed_logits.squeeze(0),
            class_logits,
            maps.spatial_log_sigma.expand_as(maps.log_sigma).squeeze(0),
            self.is_thing,
            class_mean
            if self.config.space == 'hier'
            else instance.new_zeros(len(self.labels), self.embedding_dim),
            self.config,
            thresholds,
        )
