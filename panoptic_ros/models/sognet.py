# SPDX-License-Identifier: Apache-2.0
"""SOGNet: predicts which instance lies on which, and resolves overlaps by it.

Yang et al., SOGNet: Scene Overlap Graph Network for Panoptic Segmentation, AAAI 2020; what the
paper leaves to UPSNet (Xiong et al., CVPR 2019) and what is inferred is marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_file import Threshold
from panoptic_ros.models import panoptic_fpn_decode, sognet_decode
from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.deformable import SharedSemanticHead
from panoptic_ros.models.mask_rcnn import MaskRCNN, MaskRCNNConfig, RoIMaps
from panoptic_ros.models.relation import FEATURES, RelationModule


@dataclass(frozen=True)
class SOGNetConfig(MaskRCNNConfig):
    """Network and decoding of SOGNet; lengths in network-input pixels."""

    semantic_widths: tuple[int, ...] = (256, 128, 128)
    """Of the semantic branch's convolutions; (128, 128) on Cityscapes."""

    deformable: bool = True
    """Deformable convolutions there, or plain ones, which are cheaper."""

    fusion: str = 'panoptic'
    """`panoptic`: the panoptic head; `heuristic`: by score, as Panoptic FPN (Table 2)."""

    panoptic_head: int = 2
    """1 adds semantic and mask logits (UPSNet), 2 weighs the former by the mask (Table 2)."""

    semantic_factor: float = 2.0
    """k of panoptic head 2."""

    relation: bool = True
    """Predict and resolve overlaps. Without it, and with a loss whose `panoptic_weight` is 0, this
    is Table 2's PlainNet, which the panoptic head joins for inference only."""

    relation_features: tuple[str, ...] = FEATURES
    """What relations are read from: `box`, `category`, `mask` (Table 1)."""

    box_dim: int = 128
    category_dim: int = 256

    mask_dim: int = 256
    """Of the relation's features; that of the mask is inferred."""

    relation_infer: str = 'matrix'
    """`matrix`: all pairs at once (equation 8); `pairwise`: equation 6 for one pair after the
    other (inferred, see `relation.resolve_pairwise`). Training takes the matrix."""

    overlap_of: str = 'mask'
    """What must overlap for a relation: `mask` (equation 11), or `box` (inferred) for data whose
    masks never overlap, where the first would leave nothing to learn."""

    least_overlap: float = 0.1
    """Part of the smaller instance that two must share (equation 11)."""

    void: bool = False
    """UPSNet's void channel."""

    relabel: bool = True
    """An instance whose cells are mostly of one stuff class becomes part of it (UPSNet)."""

    nms_across_classes: bool = True
    """Boxes suppress those of other classes too (UPSNet)."""

    score_threshold: float = 0.6
    """Least class probability of an instance."""

    overlap_threshold: float = 0.3
    """An instance goes when more than this part of it lies on better ones of its class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, allowed in (
            ('fusion', ('panoptic', 'heuristic')),
            ('panoptic_head', (1, 2)),
            ('relation_infer', ('matrix', 'pairwise')),
            ('overlap_of', ('mask', 'box')),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(f'{key} must be one of {allowed}, got {getattr(self, key)!r}')
        if not self.relation_features or set(self.relation_features) - set(FEATURES):
            raise ValueError(
                f'relation_features must be some of {FEATURES}, got {self.relation_features}'
            )
        if not self.semantic_widths or min(self.semantic_widths) < 1:
            raise ValueError(
                f'semantic_widths must be numbers of at least 1, got {self.semantic_widths}'
            )
        if not 0 < self.least_overlap <= 1:
            raise ValueError(
                f'least_overlap must lie above 0 and up to 1, got {self.least_overlap}'
            )


class SOGNet(MaskRCNN):
    """Panoptic FPN with predicted relations that tell which instance lies on which."""

    family = 'sognet'

    def __init__(self, labels: LabelSet, config: SOGNetConfig) -> None:
        self.config: SOGNetConfig
        super().__init__(labels, config)
        self.relation: RelationModule | None = None
        # Heuristic fusion has no use for it, and a file holds no weights without one.
        if config.relation and config.fusion == 'panoptic':
            self.relation = RelationModule(
                config.relation_features,
                len(self.thing_class),
                config.mask_size**2,
                config.box_dim,
                config.category_dim,
                config.mask_dim,
            )
        self.register_buffer('stuff_class', torch.nonzero(~self.is_thing)[:, 0], persistent=False)

    stuff_class: Tensor

    def make_semantic(self) -> tuple[nn.Module, int]:
        """Convolutions shared by the levels, side by side at stride 4."""
        config = self.config
        head = SharedSemanticHead(config.fpn_channels, config.semantic_widths, config.deformable)
        return head, 4 * config.semantic_widths[-1]

    @property
    def thresholds(self) -> Mapping[str, Threshold]:
        """Scalar inputs of `forward`."""
        own = dict(super().thresholds)
        if self.config.fusion == 'panoptic':
            own['overlap_threshold'] = Threshold(
                self.config.overlap_threshold,
                0,
                1,
                'largest part of an instance on better ones of its class',
            )
        return own

    def decode(self, maps: RoIMaps, **thresholds: Tensor) -> SegmentTensors:
        """Decodes maps (B = 1); see `sognet_decode`."""
        return self.decode_with_relation(maps, **thresholds)[0]

    def decode_with_relation(
        self, maps: RoIMaps, **thresholds: Tensor
    ) -> tuple[SegmentTensors, Tensor]:
        """Segments of one image, and which covers which.

        Returns:
            The segments; and (K, K): [i, j] above 0 where the instance of row i is covered by
            that of row j, zeros for rows without one.
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
