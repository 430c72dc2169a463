# SPDX-License-Identifier: Apache-2.0
"""Network of Panoptic-DeepLab: heads for classes, centres and offsets on two decoders.

Cheng et al., Panoptic-DeepLab: A Simple, Strong, and Fast Baseline for Bottom-Up Panoptic
Segmentation, CVPR 2020. EINet and PISR are built on it.
"""

from typing import NamedTuple

from torch import Tensor

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel, SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.panoptic_deeplab import decode as center_decode
from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.panoptic_deeplab.decode import Grouping
from panoptic_ros.models.panoptic_deeplab.dual_decoder import DualDecoder, Heads
from panoptic_ros.models.parts.layers import upsample
from panoptic_ros.models.parts.segments import mask_mean, standardized, to_segments


class CenterMaps(NamedTuple):
    """Dense predictions; all but the feature are at the requested stride."""

    semantic_logits: Tensor
    """(B, C, h, w)"""

    center_heatmap: Tensor
    """Proximity of a centre, 1 on it, unbounded, (B, M, h, w)."""

    center_offset: Tensor
    """(dy, dx) to the centre of the pixel's instance, input px, (B, 2, h, w)."""

    feature: Tensor
    """Feature that instance embeddings are computed from, (B, D, H/4, W/4)."""


class PanopticDeepLab(PanopticModel):
    """Backbone with a semantic decoder, and an instance decoder for centres and offsets."""

    family = 'panoptic_deeplab'
    embedding_kind = 'mean standardized backbone feature (stride 4) over the mask'
    heads = ('predict.semantic.out', 'predict.center.out', 'predict.offset.out')

    nms_across_maps = True
    """Whether centres of different heatmaps compete; this family has one heatmap."""

    config: PanopticDeepLabConfig

    def __init__(self, labels: LabelSet, config: PanopticDeepLabConfig) -> None:
        super().__init__(labels, config)
        self.make_parts()

    def make_parts(self) -> None:
        """Create `network` and `predict`."""
        config = self.config
        self.network = self.make_network()
        self.predict = self.make_heads((config.decoder_channels, config.instance_channels))

    def make_network(self, fusion: str = 'concat', instance_aspp: bool = True) -> DualDecoder:
        """Build backbone and decoders from the configuration."""
        config = self.config
        return DualDecoder(
            config.backbone,
            config.output_stride,
            config.multigrid,
            config.aspp_channels,
            (config.decoder_channels, config.instance_channels),
            config.low_level_channels,
            config.separable,
            fusion,
            instance_aspp,
        )

    def make_heads(self, inputs: tuple[int, int], center_channels: int = 1) -> Heads:
        """Build heads on features with (semantic, instance) `inputs` channels."""
        config = self.config
        return Heads(
            inputs,
            (config.head_channels, config.instance_head_channels),
            len(self.labels),
            center_channels,
        )

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding in the instance table."""
        return self.network.finest_channels

    def maps(self, image: Tensor, stride: int = MAP_STRIDE) -> CenterMaps:
        """Compute the dense predictions.

        Args:
            image: RGB, 0 to 255, (B, 3, H, W).
            stride: input pixels per cell; below 4 the heads' outputs are upsampled bilinearly.
        """
        semantic, instance, finest = self.network(self.normalize(image))
        return self.at_stride(self.predict(semantic, instance), finest, stride)

    def at_stride(
        self, raw: tuple[Tensor, Tensor, Tensor], feature: Tensor, stride: int
    ) -> CenterMaps:
        """Upsample the heads' outputs, and convert offsets from stride-4 cells to px."""
        semantic, center, offset = (upsample(x, stride) for x in raw)
        return CenterMaps(semantic, center, offset * MAP_STRIDE, feature)

    def decode(self, maps: CenterMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode maps (B = 1, stride 4); see `panoptic_deeplab/decode.py`."""
        rows = center_decode.decode(
            maps.semantic_logits[0],
            self.center_heights(maps)[0],
            maps.center_offset[0],
            self.is_thing,
            self.config,
            thresholds,
            self.nms_across_maps,
        )
        return to_segments(
            rows.row_map,
            rows.measures,
            rows.class_id,
            rows.score,
            self.embed(maps, rows),
            rows.valid,
            rows.confidence,
        )

    def center_heights(self, maps: CenterMaps) -> Tensor:
        """Return the heatmap on a scale of 0 to 1, (B, M, h, w)."""
        return maps.center_heatmap

    def embed(self, maps: CenterMaps, rows: Grouping) -> Tensor:
        """Compute the embedding of each row, (S, D).

        The backbone's early features describe a thing's appearance, which persists over time; the
        instance decoder's describe the place of its centre, which does not.
        """
        return mask_mean(rows.row_map, rows.valid.shape[0], standardized(maps.feature[0]))
