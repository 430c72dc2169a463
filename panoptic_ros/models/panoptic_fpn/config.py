# SPDX-License-Identifier: Apache-2.0
"""Configuration of Panoptic FPN."""

from dataclasses import dataclass

from panoptic_ros.models.parts.mask_rcnn.config import MaskRCNNConfig


@dataclass(frozen=True)
class PanopticFPNConfig(MaskRCNNConfig):
    """Network and decoding of Panoptic FPN; lengths in network-input pixels."""

    semantic_channels: int = 128
    """Channels of the semantic branch."""
