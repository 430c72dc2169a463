# SPDX-License-Identifier: Apache-2.0
"""Configuration of Mask R-CNN with a semantic branch."""

from dataclasses import dataclass

from panoptic_ros.models.config import POSITIVE, FamilyConfig, Rule, Rules, at_least, threshold

ALL_POSITIVE: Rule = ('be numbers above 0', lambda values: bool(values) and min(values) > 0)


@dataclass(frozen=True)
class MaskRCNNConfig(FamilyConfig):
    """Network and selection of detections; lengths in network-input pixels."""

    rules = Rules(
        mask_size=('be even and at least 4', lambda value: value % 2 == 0 and value >= 4),
        proposals=at_least(1),
        proposals_per_level=at_least(1),
        top_k=at_least(1),
        box_pool=at_least(1),
        embedding_dim=at_least(1),
        anchor_ratios=ALL_POSITIVE,
        mask_widths=ALL_POSITIVE,
        anchor_scale=POSITIVE,
        canonical_size=POSITIVE,
    )

    backbone: str = 'resnet50'
    """Name of a timm model."""

    fpn_channels: int = 256

    global_context: bool = False
    """Whether a linear layer of the mean feature is added to P5 (UPSNet and SOGNet on COCO)."""

    frozen_stem: bool = False
    """Whether the backbone up to stride 4 is frozen; the papers start from ImageNet weights."""

    frozen_batch_norm: bool = False
    """Whether the backbone's batch norms are frozen, statistics included, as in the papers."""

    anchor_scale: float = 8.0
    """Square root of an anchor's area, in cells of its level."""

    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height divided by width of the anchors of a cell."""

    proposals_per_level: int = 1000
    """Most boxes of each level before suppression."""

    proposals: int = 1000
    """Most boxes of all levels that the box head receives."""

    canonical_size: float = 224.0
    """Size of boxes that take their features from P4; boxes of half this size use P3, px."""

    box_pool: int = 7
    """Bins along a side of the box head's input."""

    box_width: int = 1024
    """Width of the box head's two layers."""

    embedding_dim: int = 128
    """D of the layer before the class logits, which is the table's embedding (inferred)."""

    mask_size: int = 28
    """Side of a mask, twice the side of the mask head's input."""

    mask_widths: tuple[int, ...] = (256, 256, 256, 256)
    """Channels of the mask head's convolutions."""

    label_prior: tuple[str, ...] = ()
    """Classes that cover all others whatever their score, uppermost first (SOGNet's Table 2,
    "label prior", after Li et al. 2019b; the choice of classes is inferred)."""

    top_k: int = 100
    """Most instances of an image."""

    nms_across_classes: bool = False
    """Whether boxes suppress those of other classes; they do not in Mask R-CNN."""

    score_threshold: float = threshold(0.5, 1, 'least class probability of an instance')
    """Least class probability of an instance."""

    min_area: float = threshold(0.0, 1e6, 'least area of an instance, input px')
    """Least area of an instance, px."""

    nms_threshold: float = threshold(0.5, 1, 'boxes that share more than this are one instance')
    """IoU above which the worse of two boxes is removed."""

    overlap_threshold: float = threshold(0.5, 1, 'largest part of an instance on better ones')
    """Part of an instance on better ones above which it is removed."""

    min_stuff_area: float = threshold(4096.0, 1e7, 'least area of a stuff segment, input px')
    """Least area of a stuff segment, px."""
