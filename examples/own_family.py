#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model family of your own, and `panoptic` with this family registered.

    python examples/own_family.py train --config examples/own_family.yaml
    python examples/own_family.py export --checkpoint runs/.../last.ckpt -o own.onnx

The model file does not need this script: `panoptic`, the node and replay run it like any other.
"""

import sys
from dataclasses import dataclass

from torch import nn

from panoptic_ros.cli.main import main
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.panoptic_deeplab import decode as center_decode
from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.panoptic_deeplab.network import CenterMaps
from panoptic_ros.models.parts.backbone import feature_maps, level_indices, make_backbone
from panoptic_ros.models.parts.layers import upsample
from panoptic_ros.models.parts.segments import mask_mean, to_segments
from panoptic_ros.models.registry import FAMILIES, Family


@dataclass(frozen=True)
class OneDecoderConfig(PanopticDeepLabConfig):
    """Keys of a recipe's `model.network`, plain values that the model file stores."""

    section = 'one_decoder'
    channels: int = 64


class OneDecoder(PanopticModel):
    """Classes, centres and offsets from one sum of the backbone's features."""

    family = 'one_decoder'
    embedding_kind = 'mean decoder feature (stride 4) over the mask'
    heads = ('predict.0', 'predict.1', 'predict.2')

    def __init__(self, labels, config):
        super().__init__(labels, config)
        self.backbone = make_backbone(config.backbone)
        self.levels = level_indices(self.backbone, config.backbone)
        channels = [self.backbone.feature_info.channels()[level] for level in self.levels]
        self.lateral = nn.ModuleList(nn.Conv2d(n, config.channels, 1) for n in channels)
        self.blend = nn.Sequential(
            nn.BatchNorm2d(config.channels),
            nn.ReLU(),
            nn.Conv2d(config.channels, config.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.channels),
            nn.ReLU(),
        )
        self.predict = nn.ModuleList(nn.Conv2d(config.channels, n, 1) for n in (len(labels), 1, 2))

    embedding_dim = property(lambda self: self.config.channels)

    def maps(self, image, stride=MAP_STRIDE):
        """Compute the dense predictions that the loss sees, at `stride` input px per cell."""
        features = feature_maps(self.backbone, self.normalize(image))
        total = sum(
            nn.functional.interpolate(
                conv(features[level]), features[self.levels[0]].shape[2:], mode='bilinear'
            )
            for conv, level in zip(self.lateral, self.levels, strict=True)
        )
        feature = self.blend(total)
        classes, centers, offsets = (upsample(head(feature), stride) for head in self.predict)
        return CenterMaps(classes, centers, offsets * MAP_STRIDE, feature)

    def decode(self, maps, **thresholds):
        """Decode the maps of one image in operations that export to ONNX."""
        rows = center_decode.decode(
            maps.semantic_logits[0],
            maps.center_heatmap[0],
            maps.center_offset[0],
            self.is_thing,
            self.config,
            thresholds,
        )
        embedding = mask_mean(rows.row_map, rows.valid.shape[0], maps.feature[0])
        return to_segments(
            rows.row_map,
            rows.measures,
            rows.class_id,
            rows.score,
            embedding,
            rows.valid,
            rows.confidence,
        )


FAMILIES['one_decoder'] = Family(OneDecoder, OneDecoderConfig, loss='panoptic_deeplab')

if __name__ == '__main__':
    sys.exit(main())
