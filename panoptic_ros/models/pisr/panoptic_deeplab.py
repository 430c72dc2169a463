# SPDX-License-Identifier: Apache-2.0
"""PISR on Panoptic-DeepLab: initial heads feed the block, whose features feed the final heads.

What is marked "inferred" is a design based on the supplement, see `pisr/__init__.py`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE, NEVER
from panoptic_ros.models.panoptic_deeplab.decode import Grouping, cell_places, window_of
from panoptic_ros.models.panoptic_deeplab.network import CenterMaps, PanopticDeepLab
from panoptic_ros.models.parts.layers import conv_bn_relu
from panoptic_ros.models.parts.peaks import find_peaks, row_and_column
from panoptic_ros.models.parts.precision import at_least_float32, full_precision
from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.pisr.block import PISRBlock, instance_encodings
from panoptic_ros.models.pisr.config import PISRConfig


class PISRMaps(NamedTuple):
    """Dense predictions after and before the block, and the block's instances."""

    final: CenterMaps

    initial: CenterMaps | None
    """None if the block is not enabled."""

    heatmaps: Tensor | None
    """Heatmaps of the encoded instances, (B, K, H/4, W/4)."""

    alive: Tensor | None
    """Heatmaps that belong to an instance, (B, K) bool."""


class PISR(PanopticDeepLab):
    """Panoptic-DeepLab with final heads on relational features.

    F is a 1x1 fusion of both decoders' features, and the final heads have the form of the initial
    ones (inferred).
    """

    family = 'pisr'
    embedding_kind = 'instance encoding: mean standardized feature under the heatmap'

    config: PISRConfig

    def make_parts(self) -> None:
        """Create network, initial heads, block and final heads."""
        config = self.config
        decoded = (config.decoder_channels, config.instance_channels)
        self.network = self.make_network()
        if not config.enabled:
            self.predict = self.make_heads(decoded)
            return
        channels = config.block_channels
        self.initial = self.make_heads(decoded)
        self.fuse = conv_bn_relu(sum(decoded), channels)
        self.block = PISRBlock.from_config(config)
        self.predict = self.make_heads((channels, channels))

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding in the instance table."""
        return self.config.block_channels if self.config.enabled else self.config.instance_channels

    def maps(self, image: Tensor, stride: int = MAP_STRIDE) -> PISRMaps:  # type: ignore[override]
        """Compute the maps of initial and final heads; see `PanopticDeepLab.maps`."""
        semantic, instance, _ = self.network(self.normalize(image))
        if not self.config.enabled:
            final = self.at_stride(self.predict(semantic, instance), instance, stride)
            return PISRMaps(final, None, None, None)
        features = self.fuse(torch.cat([semantic, instance], dim=1))
        raw = self.initial(semantic, instance)
        coarse = self.at_stride(raw, features, MAP_STRIDE)
        center, alive = confident_centers(
            coarse.center_heatmap, self.config.num_encodings, window_of(self.config.nms_kernel)
        )
        heatmaps = self.heatmaps(coarse, center)
        related = self.block(features, coarse.semantic_logits, heatmaps, alive)
        final = self.at_stride(self.predict(related, related), features, stride)
        return PISRMaps(final, self.at_stride(raw, features, stride), heatmaps, alive)

    def heatmaps(self, maps: CenterMaps, center: Tensor) -> Tensor:
        """Compute heatmaps (B, K, H/4, W/4) of centres (B, K, 2), px, from stride-4 maps."""
        best = maps.semantic_logits.argmax(dim=1)
        thing = self.is_thing.index_select(0, best.flatten()).view_as(best)
        return instance_heatmaps(maps.center_offset, center, thing, self.config.tau)

    def decode(  # type: ignore[override]
        self, maps: PISRMaps, **thresholds: Tensor
    ) -> SegmentTensors:
        """Decode the final maps (B = 1, stride 4) as Panoptic-DeepLab does."""
        return super().decode(maps.final, **thresholds)

    def embed(self, maps: CenterMaps, rows: Grouping) -> Tensor:
        """Encode each final instance, (S, D); stuff rows, which have no centre, are zero."""
        center = cell_places(maps.center_offset, MAP_STRIDE).index_select(0, rows.center)
        encoded = instance_encodings(
            standardized(maps.feature[0])[None], self.heatmaps(maps, center[None])
        )[0]
        return torch.cat([encoded, encoded.new_zeros(len(self.labels), encoded.shape[1])])


def confident_centers(heatmap: Tensor, number: int, window: int) -> tuple[Tensor, Tensor]:
    """Find the highest local maxima of each image.

    Args:
        heatmap: at stride 4, (B, 1, h, w); it receives no gradient.
        number: K.
        window: cells, odd.

    Returns:
        (y, x) in px, (B, K, 2), and the rows that hold a centre, (B, K) bool.
    """
    height, place = find_peaks(heatmap.detach(), window, number)
    center = torch.stack(row_and_column(place, heatmap.shape[3]), dim=-1)
    return (center + 0.5) * MAP_STRIDE, height > NEVER / 2


def instance_heatmaps(offset: Tensor, center: Tensor, thing: Tensor, tau: float) -> Tensor:
    """Compute `exp(-|p + O(p) - c|^2 / (2 tau^2))` of each instance; 0 on stuff (inferred).

    Args:
        offset: (dy, dx) from each cell to its centre at stride 4, px, (B, 2, h, w).
        center: (y, x), px, (B, K, 2).
        thing: cells whose class is a thing, (B, h, w) bool.
        tau: standard deviation, px.

    Returns:
        (B, K, h, w)
    """
    with full_precision(offset):  # half precision errs by many px far from the middle
        offset = at_least_float32(offset)
        y, x = (cell_places(offset, MAP_STRIDE).T + offset.flatten(2)).unbind(dim=1)  # (B, N)
        dy, dx = (
            at[:, None] - c[:, :, None] for at, c in zip((y, x), center.unbind(dim=2), strict=True)
        )  # (B, K, N)
        heat = torch.exp(-(dy.square() + dx.square()) / (2 * tau**2))
        return heat.unflatten(2, offset.shape[2:]) * thing[:, None].to(heat.dtype)
