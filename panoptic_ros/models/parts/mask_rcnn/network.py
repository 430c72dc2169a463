# SPDX-License-Identifier: Apache-2.0
"""Mask R-CNN with a semantic branch on one pyramid, the base of Panoptic FPN and SOGNet.

He et al., Mask R-CNN, ICCV 2017; Lin et al., Feature Pyramid Networks, CVPR 2017.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.config import MAP_STRIDE
from panoptic_ros.models.parts.backbone import LEVEL_STRIDES
from panoptic_ros.models.parts.fpn import FPN
from panoptic_ros.models.parts.mask_rcnn.config import MaskRCNNConfig
from panoptic_ros.models.parts.mask_rcnn.proposals import by_anchor, make_anchors, propose
from panoptic_ros.models.parts.mask_rcnn.roi_heads import (
    BoxHead,
    Detections,
    MaskHead,
    detect,
    of_class,
    pool_fixed,
)

RPN_STRIDES = (*LEVEL_STRIDES, 64)


class RoIMaps(NamedTuple):
    """Outputs of the first stage for a batch."""

    levels: tuple[Tensor, ...]
    """P2 to P6, (B, channels, H/s, W/s)."""

    semantic_logits: Tensor
    """(B, C, H/4, W/4)"""

    logits: list[Tensor]
    """Objectness of each level's anchors, (B, n)."""

    deltas: list[Tensor]
    """Encoded boxes of the anchors, (B, n, 4)."""


class RoIHeads(Protocol):
    """Holder of a box head and a mask head: a `MaskRCNN`, or a part of one."""

    box_head: BoxHead
    mask_head: MaskHead


class MaskRCNN(PanopticModel):
    """Pyramid, RPN, box head, mask head and the last layer of a semantic branch.

    Thing classes are numbered 0 to T - 1 here, in the order of the labels; `thing_class` holds
    their class ids.
    """

    embedding_kind = "features of the instance's box that its class is linear in"
    heads: ClassVar[tuple[str, ...]] = ('semantic_logits', 'rpn.cls_logits', 'rpn.bbox_pred')

    thing_class: Tensor
    thing_tier: Tensor

    def __init__(self, labels: LabelSet, config: MaskRCNNConfig) -> None:
        super().__init__(labels, config)
        self.config: MaskRCNNConfig
        things = torch.nonzero(self.is_thing)[:, 0]
        if not len(things):
            raise ValueError(f'{self.family} needs at least one thing class, the labels have none')
        names = [labels.names[i] for i in things.tolist()]
        unknown = [name for name in config.label_prior if name not in names]
        if unknown:
            raise ValueError(
                f'label_prior: {unknown[0]!r} is not a thing class; '
                f'the thing classes are: {", ".join(names)}'
            )
        prior = list(config.label_prior)
        self.register_buffer('thing_class', things, persistent=False)
        self.register_buffer(
            'thing_tier',
            torch.tensor([float(len(prior) - prior.index(n) if n in prior else 0) for n in names]),
            persistent=False,
        )
        channels = config.fpn_channels
        self.fpn = self.make_pyramid()
        self.rpn = RPNHead(channels, len(config.anchor_ratios))
        self.box_head, self.mask_head = self.make_roi_heads()
        self.semantic, width = self.make_semantic()
        self.semantic_logits = nn.Conv2d(width, len(labels), 1)

    def make_pyramid(self) -> FPN:
        """Build the network from an image to P2 to P6."""
        config = self.config
        return FPN(
            config.backbone,
            config.fpn_channels,
            'pool',
            config.global_context,
            frozen_stem=config.frozen_stem,
            frozen_batch_norm=config.frozen_batch_norm,
        )

    def make_roi_heads(self) -> tuple[BoxHead, MaskHead]:
        """Build the box head and the mask head."""
        config, things = self.config, len(self.thing_class)
        return BoxHead(
            config.fpn_channels, config.box_pool, config.box_width, config.embedding_dim, things
        ), MaskHead(config.fpn_channels, config.mask_widths, things)

    def make_semantic(self) -> tuple[nn.Module, int]:
        """Build the semantic branch without its last layer, P2 to P5 -> stride 4; its channels."""
        raise NotImplementedError

    def maps(self, image: Tensor) -> RoIMaps:
        """Compute the first stage: pyramid, semantic logits and outputs of the RPN."""
        levels = self.fpn(self.normalize(image))
        return self.first_stage(levels, self.semantic_logits(self.semantic(levels[:4])))

    def first_stage(self, levels: Sequence[Tensor], semantic_logits: Tensor) -> RoIMaps:
        """Run the RPN on P2 to P6, and collect the maps."""
        logits, deltas = self.rpn(levels)
        return RoIMaps(
            tuple(levels),
            semantic_logits,
            [level[..., 0] for level in by_anchor(logits, 1)],
            by_anchor(deltas, 4),
        )

    def anchors(self, maps: RoIMaps) -> list[Tensor]:
        """Return the anchors of each level, (n, 4) px."""
        sizes = [(level.shape[2], level.shape[3]) for level in maps.levels]
        return make_anchors(
            sizes,
            RPN_STRIDES,
            self.config.anchor_scale,
            self.config.anchor_ratios,
            maps.semantic_logits.device,
        )

    def propose(self, maps: RoIMaps, anchors: list[Tensor], image: int) -> tuple[Tensor, Tensor]:
        """Return the proposals of one image of the batch and their logits.

        See `proposals.propose`.
        """
        return propose(
            [level[image] for level in maps.logits],
            [level[image] for level in maps.deltas],
            anchors,
            image_size(maps),
            self.config.proposals_per_level,
            self.config.proposals,
        )

    def detect(self, maps: RoIMaps, **thresholds: Tensor) -> tuple[Detections, Tensor]:
        """Compute the detections of one image (B = 1) and their mask logits (K, m, m)."""
        boxes, logits = self.propose(maps, self.anchors(maps), 0)
        return self.detect_by(
            self,
            maps.levels[:4],
            boxes,
            logits,
            self.config.top_k,
            thresholds['score_threshold'],
            thresholds['nms_threshold'],
        )

    def detect_by(
        self,
        heads: RoIHeads,
        levels: Sequence[Tensor],
        boxes: Tensor,
        logits: Tensor,
        top_k: int,
        score_threshold: Tensor | float,
        nms_threshold: Tensor | float,
    ) -> tuple[Detections, Tensor]:
        """Compute detections from the proposals of one image with the given heads.

        Args:
            heads: the box head and the mask head.
            levels: P2 to P5, (1, C, h, w).
            boxes: proposals, (P, 4) px.
            logits: of the proposals, see `propose`, (P,).
            top_k: K.
            score_threshold: see `roi_heads.detect`.
            nms_threshold: see there.

        Returns:
            K detections and their mask logits (K, m, m).
        """
        config = self.config
        height, width = (n * MAP_STRIDE for n in levels[0].shape[2:])
        outputs = heads.box_head(pool_fixed(levels, boxes, config.box_pool, config.canonical_size))
        found = detect(
            boxes,
            logits,
            outputs,
            (height, width),
            top_k,
            score_threshold,
            nms_threshold,
            config.nms_across_classes,
        )
        if config.label_prior:
            tier = self.thing_tier.index_select(0, found.thing)
            # A score is at most 1, so that the tier precedes it; empty rows stay last.
            order = torch.where(found.alive, tier + found.score, -1.0).topk(len(tier)).indices
            found = Detections(*(value.index_select(0, order) for value in found))
        masks = heads.mask_head(
            pool_fixed(levels, found.box, config.mask_size // 2, config.canonical_size)
        )
        return found, of_class(masks, found.thing)


def image_size(maps: RoIMaps) -> tuple[int, int]:
    """Return the (height, width) of the images, px."""
    return maps.levels[0].shape[2] * MAP_STRIDE, maps.levels[0].shape[3] * MAP_STRIDE
