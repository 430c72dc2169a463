# SPDX-License-Identifier: Apache-2.0
"""PISR on UPerNet with box and mask heads, merged as Panoptic FPN merges.

Xiao et al., Unified Perceptual Parsing for Scene Understanding, ECCV 2018. According to
the supplement (D.2), the base has semantic and instance heads; that these are Mask R-CNN's on
UPerNet's pyramid is inferred. Norms are group norms (inferred), since batches are small.
"""

from torch import nn

from panoptic_ros.models.parts.fpn import FPN, FusedLevels
from panoptic_ros.models.pisr.config import PISRUPerNetConfig
from panoptic_ros.models.pisr.panoptic_fpn import PISRPanopticFPN


class PISRUPerNet(PISRPanopticFPN):
    """PISR on a pyramid with pooling at its top, whose fused levels feed the semantic head."""

    family = 'pisr_upernet'

    config: PISRUPerNetConfig

    def make_pyramid(self) -> FPN:
        """Build the network from an image to P2 to P6."""
        config = self.config
        return FPN(
            config.backbone,
            config.fpn_channels,
            'pool',
            config.global_context,
            config.pool_scales,
            config.frozen_stem,
            config.frozen_batch_norm,
        )

    def make_semantic(self) -> tuple[nn.Module, int]:
        """Build the fusion of all levels; see `FusedLevels`."""
        channels = self.config.semantic_channels
        return FusedLevels(self.config.fpn_channels, channels), channels
