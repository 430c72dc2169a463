# SPDX-License-Identifier: Apache-2.0
"""PISR on Panoptic FPN: initial heads feed the block, whose features feed the final heads.

The encodings come from predicted masks and semantic maps (supplement, D.2). What is marked
"inferred" is a design based on the supplement, see `pisr/__init__.py`.
"""

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.panoptic_fpn.network import PanopticFPN
from panoptic_ros.models.parts.layers import conv_bn_relu
from panoptic_ros.models.parts.mask_rcnn.masks import paste
from panoptic_ros.models.parts.mask_rcnn.network import RoIMaps
from panoptic_ros.models.parts.mask_rcnn.roi_heads import BoxHead, Detections, MaskHead
from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.pisr.block import PISRBlock, instance_encodings
from panoptic_ros.models.pisr.config import PISRPanopticFPNConfig


class PISRRoIMaps(NamedTuple):
    """Predictions before and after the block."""

    final: RoIMaps
    """Levels and semantic logits after the block; proposals are the initial ones (inferred)."""

    initial: RoIMaps | None
    """None if the block is not enabled, like all fields below."""

    features: Tensor | None
    """F, (B, D, H/4, W/4)."""

    heatmaps: Tensor | None
    """Masks of the encoded detections, in [0, 1], (B, K, H/4, W/4)."""

    alive: Tensor | None
    """Heatmaps that belong to a detection, (B, K) bool."""


class InitialHeads(nn.Module):
    """Heads before the block, of the same form as those after it."""

    def __init__(self, semantic_logits: nn.Conv2d, box_head: BoxHead, mask_head: MaskHead) -> None:
        super().__init__()
        self.semantic_logits, self.box_head, self.mask_head = semantic_logits, box_head, mask_head


class PISRPanopticFPN(PanopticFPN):
    """Panoptic FPN with final heads on relational features.

    F is a 1x1 fusion of the semantic branch's features and P2 (inferred, as on
    Panoptic-DeepLab). The final semantic head is a 1x1 convolution of the panoptic features.
    """

    family = 'pisr_panoptic_fpn'
    embedding_kind = 'instance encoding: mean standardized feature under the mask'
    heads: ClassVar[tuple[str, ...]] = ('semantic_logits', 'carry')

    config: PISRPanopticFPNConfig

    def __init__(self, labels: LabelSet, config: PISRPanopticFPNConfig) -> None:
        super().__init__(labels, config)
        if not config.enabled:
            self.embedding_kind = PanopticFPN.embedding_kind  # type: ignore[misc]
            self.heads = PanopticFPN.heads  # type: ignore[misc]
            return
        channels, pyramid = config.block_channels, config.fpn_channels
        self.initial = InitialHeads(self.semantic_logits, self.box_head, self.mask_head)
        self.fuse = conv_bn_relu(self.semantic_logits.in_channels + pyramid, channels)
        self.block = PISRBlock.from_config(config)
        self.carry = nn.Conv2d(channels, pyramid, 1)
        self.semantic_logits = nn.Conv2d(channels, len(labels), 1)
        self.box_head, self.mask_head = self.make_roi_heads()

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding in the instance table."""
        return self.config.block_channels if self.config.enabled else self.config.embedding_dim

    def maps(self, image: Tensor) -> PISRRoIMaps:  # type: ignore[override]
        """Compute pyramid, proposals and semantic logits before and after the block."""
        if not self.config.enabled:
            return PISRRoIMaps(super().maps(image), None, None, None, None)
        levels = self.fpn(self.normalize(image))
        semantic = self.semantic(levels[:4])
        initial = self.first_stage(levels, self.initial.semantic_logits(semantic))
        features = self.fuse(torch.cat([semantic, levels[0]], dim=1))
        heatmaps, alive = self.heatmaps(initial)
        related = self.block(features, initial.semantic_logits, heatmaps, alive)
        final = initial._replace(
            levels=self.spread(initial.levels, related),
            semantic_logits=self.semantic_logits(related),
        )
        return PISRRoIMaps(final, initial, features, heatmaps, alive)

    def heatmaps(self, initial: RoIMaps) -> tuple[Tensor, Tensor]:
        """Compute `heatmaps` and `alive` of `PISRRoIMaps` from the initial heads.

        Gradients flow to the masks, not to the boxes.
        """
        config, anchors, heat, alive = self.config, self.anchors(initial), [], []
        for i in range(initial.semantic_logits.shape[0]):
            boxes, logits = self.propose(initial, anchors, i)
            found, masks = self.detect_by(
                self.initial,
                [level[i : i + 1] for level in initial.levels[:4]],
                boxes.detach(),
                logits.detach(),
                config.num_encodings,
                config.encoding_score,
                config.nms_threshold,
            )
            found = found._replace(box=found.box.detach())
            heat.append(paste_probabilities(found, masks, initial.semantic_logits))
            alive.append(found.alive)
        return torch.stack(heat), torch.stack(alive)

    def spread(self, levels: tuple[Tensor, ...], related: Tensor) -> tuple[Tensor, ...]:
        """Compute the levels for the final box and mask heads; P6 is unchanged."""
        carried = self.carry(related)
        pooled = [carried if i == 0 else F.avg_pool2d(carried, 2**i) for i in range(4)]
        if self.config.panoptic_levels == 'sum':
            pooled = [a + b for a, b in zip(levels, pooled, strict=False)]
        return (*pooled, *levels[4:])

    def decode(  # type: ignore[override]
        self, maps: PISRRoIMaps, **thresholds: Tensor
    ) -> SegmentTensors:
        """Decode the final maps (B = 1) as Panoptic FPN does."""
        if maps.features is None:
            return super().decode(maps.final, **thresholds)
        found, masks = self.detect(maps.final, **thresholds)
        heat = paste_probabilities(found, masks, maps.final.semantic_logits)
        encoded = instance_encodings(standardized(maps.features[0])[None], heat[None])[0]
        return self.merge(
            found._replace(embedding=encoded), masks, maps.final.semantic_logits, **thresholds
        )


def paste_probabilities(found: Detections, masks: Tensor, semantic_logits: Tensor) -> Tensor:
    """Paste mask probabilities at stride 4; 0 outside boxes and in rows without a detection.

    Args:
        found: K detections.
        masks: logits, (K, m, m).
        semantic_logits: logits of the result's size, (B, C, h, w).

    Returns:
        (K, h, w)
    """
    size = (semantic_logits.shape[2], semantic_logits.shape[3])
    heat = paste(masks.sigmoid(), found.box / MAP_STRIDE, size)
    return heat * found.alive[:, None, None].to(heat.dtype)
