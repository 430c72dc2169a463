# SPDX-License-Identifier: Apache-2.0
"""PISR on MaskFormer: initial masks feed the block, whose features feed the final heads.

Cheng et al., Per-Pixel Classification is Not All You Need for Semantic Segmentation, NeurIPS
2021, built from parts of the transformers library: its pixel decoder is the plain FPN, without the
encoder that MaskFormer's authors place before it on ResNets. What is marked "inferred" is a design
based on the supplement of PISR (D.3), see `pisr/__init__.py`.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.parts.backbone import feature_maps, level_indices, make_backbone
from panoptic_ros.models.parts.layers import conv_bn_relu, upsample
from panoptic_ros.models.parts.queries.decode import QueryMaps, decode
from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.pisr.block import PISRBlock, instance_encodings
from panoptic_ros.models.pisr.config import PISRMaskFormerConfig


class PISRQueryMaps(NamedTuple):
    """Predictions for the queries after and before the block."""

    final: QueryMaps

    initial: QueryMaps | None
    """None if the block is not enabled."""

    auxiliary: list[QueryMaps]
    """Predictions of the transformer's earlier layers, in training with deep supervision."""

    features: Tensor
    """F, which instances are encoded from, (B, D, H/4, W/4)."""


class QueryHeads(nn.Module):
    """Heads for the classes and masks of queries.

    Args:
        query_channels: channels of the queries.
        pixel_channels: channels of the features.
        classes: C.
    """

    def __init__(self, query_channels: int, pixel_channels: int, classes: int) -> None:
        super().__init__()
        from transformers.models.maskformer.modeling_maskformer import MaskformerMLPPredictionHead

        self.classes = nn.Linear(query_channels, classes + 1)
        self.mask: Any = MaskformerMLPPredictionHead(
            query_channels, query_channels, pixel_channels
        )

    def forward(self, query: Tensor, pixels: Tensor) -> QueryMaps:
        """Compute predictions from queries (B, Q, E) and features (B, D, h, w)."""
        masks = torch.bmm(self.mask(query), pixels.flatten(2))
        return QueryMaps(self.classes(query), masks.unflatten(2, pixels.shape[2:]), query)


class PISRMaskFormer(PanopticModel):
    """MaskFormer with final heads on features that relate all queries.

    The initial mask of each query, of things and stuff alike, yields one encoding, and all take
    part (inferred). F is a 1x1 projection of the pixel decoder's features (inferred).
    """

    family = 'pisr_maskformer'
    embedding_kind = 'instance encoding: mean standardized feature under the mask'
    heads = ()
    training_only = ('initial.classes.',)

    config: PISRMaskFormerConfig

    def __init__(self, labels: LabelSet, config: PISRMaskFormerConfig) -> None:
        super().__init__(labels, config)
        try:
            from transformers import DetrConfig, MaskFormerConfig
            from transformers.models.maskformer import modeling_maskformer as parts
        except ImportError as error:
            raise ImportError(
                'pisr_maskformer needs the transformers library; install panoptic_ros[hf]'
            ) from error

        self.backbone: Any = make_backbone(config.backbone)
        self.indices = level_indices(self.backbone, config.backbone)
        features: Any = self.backbone.feature_info
        widths = [features.channels()[i] for i in self.indices]
        self.pixels: Any = parts.MaskFormerPixelDecoder(
            in_features=widths[-1],
            lateral_widths=widths[:-1],
            feature_size=config.fpn_channels,
            mask_feature_size=config.mask_channels,
        )
        layers = DetrConfig(
            d_model=config.query_channels,
            num_queries=config.num_queries,
            decoder_layers=config.decoder_layers,
            decoder_attention_heads=config.attention_heads,
            decoder_ffn_dim=config.feedforward,
            dropout=config.dropout,
        )
        layers._attn_implementation = 'eager'  # other kernels do not export
        self.transformer: Any = parts.MaskFormerTransformerModule(
            widths[-1], MaskFormerConfig(decoder_config=layers)
        )
        pixel_channels = config.mask_channels
        if config.enabled:
            channels = config.block_channels
            self.initial = QueryHeads(config.query_channels, pixel_channels, len(labels))
            self.fuse = conv_bn_relu(pixel_channels, channels)
            self.block = PISRBlock.from_config(config)
            if config.feed_queries:
                self.carry = nn.Linear(channels, config.query_channels)
            pixel_channels = channels
        self.predict = QueryHeads(config.query_channels, pixel_channels, len(labels))

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding in the instance table."""
        return self.config.block_channels if self.config.enabled else self.config.mask_channels

    def maps(self, image: Tensor) -> PISRQueryMaps:
        """Compute the predictions for the queries, with masks at stride 4."""
        found = feature_maps(self.backbone, self.normalize(image))
        levels = [found[i] for i in self.indices]
        pixels = self.pixels(levels).last_hidden_state
        query, earlier = self.decoded(levels[-1])
        first = self.initial if self.config.enabled else self.predict
        auxiliary = [first(state, pixels) for state in earlier]
        initial: QueryMaps = first(query, pixels)
        if not self.config.enabled:
            return PISRQueryMaps(initial, None, auxiliary, pixels)
        features = self.fuse(pixels)
        heatmaps = initial.mask_logits.sigmoid()
        everyone = torch.ones_like(query[:, :, 0], dtype=torch.bool)
        related = self.block(features, None, heatmaps, everyone)
        if self.config.feed_queries:
            query = query + self.carry(instance_encodings(related, heatmaps).to(query.dtype))
        return PISRQueryMaps(self.predict(query, related), initial, auxiliary, features)

    def decoded(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the queries of the last layer, and those of earlier layers if these learn."""
        if not (self.training and self.config.deep_supervision):
            return self.transformer(features).last_hidden_state, []
        out = self.transformer(features, output_hidden_states=True)
        layers = out.hidden_states[-self.config.decoder_layers : -1]
        return out.last_hidden_state, [self.transformer.decoder.layernorm(x) for x in layers]

    def decode(self, maps: PISRQueryMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode the queries of one image; see `parts/queries/decode.py`."""
        final, stride = maps.final, self.config.stride
        encoded = instance_encodings(
            standardized(maps.features[0])[None], final.mask_logits.sigmoid()
        )[0]
        return decode(
            final.class_logits[0],
            upsample(final.mask_logits, stride)[0].sigmoid(),
            F.normalize(encoded, dim=1),
            self.is_thing,
            stride,
            True,
            thresholds,
        )
