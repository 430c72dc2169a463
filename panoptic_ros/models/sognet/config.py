# SPDX-License-Identifier: Apache-2.0
"""Configuration of SOGNet.

Tables and equations are those of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.parts.mask_rcnn.config import MaskRCNNConfig

FEATURES = ('box', 'category', 'mask')


@dataclass(frozen=True)
class SOGNetConfig(MaskRCNNConfig):
    """Network and decoding of SOGNet; lengths in network-input pixels."""

    semantic_widths: tuple[int, ...] = (256, 128, 128)
    """Channels of the semantic branch's convolutions; (128, 128) on Cityscapes."""

    deformable: bool = True
    """Whether the semantic branch has deformable convolutions; plain ones are cheaper."""

    fusion: str = 'panoptic'
    """`panoptic`: by the panoptic head; `heuristic`: by score, as Panoptic FPN (Table 2)."""

    panoptic_head: int = 2
    """1 adds semantic and mask logits (UPSNet), 2 weights the former by the mask (Table 2)."""

    semantic_factor: float = 2.0
    """k of panoptic head 2."""

    relation: bool = True
    """Whether overlaps are predicted and resolved. Without it, and with a loss whose
    `panoptic_weight` is 0, this is Table 2's PlainNet, which uses the panoptic head for inference
    only."""

    relation_features: tuple[str, ...] = FEATURES
    """Inputs of the relation module: `box`, `category`, `mask` (Table 1)."""

    box_dim: int = 128
    category_dim: int = 256

    mask_dim: int = 256
    """Length of the relation's mask features (inferred)."""

    relation_infer: str = 'matrix'
    """`matrix`: all pairs at once (equation 8); `pairwise`: equation 6 for one pair after the
    other (inferred, see `relation.resolve_pairwise`). Training uses the matrix."""

    overlap_of: str = 'mask'
    """Overlap that makes a relation: of the `mask` (equation 11), or of the `box` (inferred) for
    data whose masks never overlap, where the first would leave nothing to learn."""

    least_overlap: float = 0.1
    """Least part of the smaller instance that two must share (equation 11)."""

    void: bool = False
    """Whether UPSNet's void channel is used."""

    relabel: bool = True
    """Whether an instance whose cells are mostly of one stuff class joins that class (UPSNet)."""

    nms_across_classes: bool = True
    """Whether boxes suppress those of other classes (UPSNet)."""

    score_threshold: float = 0.6
    """Least class probability of an instance."""

    overlap_threshold: float = 0.3
    """Part of an instance on better ones of its class above which it is removed."""

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

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph, by name."""
        own = dict(super().thresholds())
        if self.fusion == 'panoptic':
            own['overlap_threshold'] = Threshold(
                self.overlap_threshold,
                0,
                1,
                'largest part of an instance on better ones of its class',
            )
        return own
