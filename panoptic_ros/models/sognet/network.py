# SPDX-License-Identifier: Apache-2.0
"""Network of SOGNet: Mask R-CNN with a semantic head and a relation module.

Yang et al., SOGNet: Scene Overlap Graph Network for Panoptic Segmentation, AAAI 2020. What follows
UPSNet (Xiong et al., CVPR 2019) and what is inferred is marked.
"""

import torch
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.panoptic_fpn import decode as panoptic_fpn_decode
from panoptic_ros.models.parts.mask_rcnn.network import MaskRCNN, RoIMaps
from panoptic_ros.models.sognet import decode as sognet_decode
from panoptic_ros.models.sognet.config import SOGNetConfig
from panoptic_ros.models.sognet.relation import RelationModule
from panoptic_ros.models.sognet.semantic_head import SharedSemanticHead


class SOGNet(MaskRCNN):
    """Panoptic FPN with predicted relations of which instance covers which."""

    family = 'sognet'

    def __init__(self, labels: LabelSet, config: SOGNetConfig) -> None:
        self.config: SOGNetConfig
        super().__init__(labels, config)
        self.relation: RelationModule | None = None
        # Heuristic fusion does not use it, and a model file holds used weights only.
        if config.relation and config.fusion == 'panoptic':
            self.relation = RelationModule(
                config.relation_features,
                len(self.thing_class),
                config.mask_size**2,
                config.box_dim,
                config.category_dim,
                config.mask_dim,
                config.box_relu,
            )
        self.register_buffer('stuff_class', torch.nonzero(~self.is_thing)[:, 0], persistent=False)

    stuff_class: Tensor

    def make_semantic(self) -> tuple[nn.Module, int]:
        """Build convolutions shared by all levels; see `SharedSemanticHead`."""
        config = self.config
        head = SharedSemanticHead(config.fpn_channels, config.semantic_widths, config.deformable)
        return head, 4 * config.semantic_widths[-1]

    def decode(self, maps: RoIMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decode maps (B = 1); see `sognet/decode.py`."""
        return self.decode_with_relation(maps, **thresholds)[0]

    def decode_with_relation(
        self, maps: RoIMaps, **thresholds: Tensor
    ) -> tuple[SegmentTensors, Tensor]:
        """Decode the segments of one image and the relations of its instances.

        Returns:
            The segments; and (K, K): [i, j] is above 0 if the instance of row j covers that of
            row i, and 0 for rows without an instance.
        """
        found, masks = self.detect(maps, **thresholds)
        if self.config.fusion == 'heuristic':
            nothing = masks.new_zeros(masks.shape[0], masks.shape[0])
            return panoptic_fpn_decode.decode(
                found,
                masks,
                maps.semantic_logits[0],
                self.thing_class,
                self.is_thing,
                self.config.stride,
                thresholds,
            ), nothing
        return sognet_decode.decode(
            found,
            masks,
            maps.semantic_logits[0],
            self.relation,
            self.thing_class,
            self.stuff_class,
            self.is_thing,
            self.config,
            thresholds,
        )
