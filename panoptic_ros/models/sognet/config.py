# SPDX-License-Identifier: Apache-2.0
"""Configuration of SOGNet.

Tables and equations are those of the paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.config import POSITIVE_SHARE, Rules, all_at_least, one_of, threshold
from panoptic_ros.models.parts.mask_rcnn.config import MaskRCNNConfig

FEATURES = ('box', 'category', 'mask')


@dataclass(frozen=True)
class SOGNetConfig(MaskRCNNConfig):
    """Network and decoding of SOGNet; lengths in network-input pixels."""

    rules = Rules(
        fusion=one_of('panoptic', 'heuristic'),
        panoptic_head=one_of(1, 2),
        relation_infer=one_of('matrix', 'pairwise'),
        overlap_of=one_of('mask', 'box'),
        relation_features=(
            f'be some of {FEATURES}',
            lambda values: bool(values) and set(values) <= set(FEATURES),
        ),
        semantic_widths=all_at_least(1),
        least_overlap=POSITIVE_SHARE,
    )
    earlier: ClassVar[Mapping[str, Any]] = {'box_relu': True, 'trim': False}

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

    box_relu: bool = False
    """Whether a ReLU follows K of the box features, as in the released code; equation 3 has
    none."""

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

    trim: bool = True
    """Whether an instance loses the cells that better ones of its class hold (section Inference);
    the released code leaves both masks whole."""

    relabel: bool = True
    """Whether an instance whose cells are mostly of one stuff class joins that class (UPSNet)."""

    nms_across_classes: bool = True
    """Whether boxes suppress those of other classes (UPSNet)."""

    score_threshold: float = threshold(0.6, 1, 'least class probability of an instance')
    """Least class probability of an instance."""

    overlap_threshold: float = threshold(0.3, 1, 'largest part of an instance on better ones')
    """Part of an instance on better ones of its class above which it is removed."""

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
