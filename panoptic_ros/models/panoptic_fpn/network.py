# SPDX-License-Identifier: Apache-2.0
"""Network of Panoptic FPN: Mask R-CNN and a semantic branch on one pyramid.

Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019. The semantic branch predicts all
classes, not stuff and "other" (inferred, as in UPSNet and SOGNet). Cells of a thing class that no
instance covers stay void, as "other" would.
"""

from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.panoptic_fpn import decode as panoptic_fpn_decode
from panoptic_ros.models.panoptic_fpn.config import PanopticFPNConfig
from panoptic_ros.models.parts.fpn import SemanticFPN
from panoptic_ros.models.parts.mask_rcnn.network import MaskRCNN, RoIMaps
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections


class PanopticFPN(MaskRCNN):
    """FPN with box and mask heads and a semantic branch, merged by score."""

    family = 'panoptic_fpn'

    def __init__(self, labels: LabelSet, config: PanopticFPNConfig) -> None:
        self.config: PanopticFPNConfig
        super().__init__(labels, config)

    def make_semantic(self) -> tuple[nn.Module, int]:
        """Build the sum of all levels at stride 4; see `SemanticFPN`."""
        channels = self.config.semantic_channels
        return SemanticFPN(self.config.fpn_channels, channels), channels

    def decode(self, maps: RoIMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode maps (B = 1); see `panoptic_fpn/decode.py`."""
        found, masks = self.detect(maps, **thresholds)
        return self.merge(found, masks, maps.semantic_logits, **thresholds)

    def merge(
        self, found: Detections, masks: Tensor, semantic_logits: Tensor, **thresholds: Tensor
    ) -> SegmentTensors:
        """Merge detections, their mask logits and semantic logits (1, C, h, w)."""
        return panoptic_fpn_decode.decode(
            found,
            masks,
            semantic_logits[0],
            self.thing_class,
            self.is_thing,
            self.config.stride,
            thresholds,
        )
