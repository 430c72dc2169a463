# SPDX-License-Identifier: Apache-2.0
"""Configuration of Mask R-CNN with a semantic branch."""

from __future__ import annotations

from dataclasses import dataclass

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class MaskRCNNConfig:
    """Network and selection of detections; lengths in network-input pixels."""

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

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    stride: int = 1
    """Input pixels per cell of the decoded maps: 1, 2 or 4."""

    top_k: int = 100
    """Most instances of an image."""

    score_threshold: float = 0.5
    """Least class probability of an instance."""

    nms_threshold: float = 0.5
    """IoU above which the worse of two boxes is removed."""

    nms_across_classes: bool = False
    """Whether boxes suppress those of other classes; they do not in Mask R-CNN."""

    overlap_threshold: float = 0.5
    """Part of an instance on better ones above which it is removed."""

    min_area: float = 0.0
    """Least area of an instance, px."""

    min_stuff_area: float = 4096.0
    """Least area of a stuff segment, px."""

    def __post_init__(self) -> None:
        if self.stride not in (1, 2, 4):
            raise ValueError(f'stride must be 1, 2 or 4, got {self.stride!r}')
        if self.mask_size % 2 or self.mask_size < 4:
            raise ValueError(f'mask_size must be even and at least 4, got {self.mask_size}')
        for key in ('proposals', 'proposals_per_level', 'top_k', 'box_pool', 'embedding_dim'):
            if getattr(self, key) < 1:
                raise ValueError(f'{key} must be at least 1, got {getattr(self, key)}')
        for key in ('anchor_ratios', 'mask_widths'):
            if not getattr(self, key) or min(getattr(self, key)) <= 0:
                raise ValueError(f'{key} must be numbers above 0, got {getattr(self, key)}')
        for key in ('anchor_scale', 'canonical_size'):
            if getattr(self, key) <= 0:
                raise ValueError(f'{key} must be above 0, got {getattr(self, key)}')

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph, by name."""
        return {
            'score_threshold': Threshold(
                self.score_threshold, 0, 1, 'least class probability of an instance'
            ),
            'min_area': Threshold(self.min_area, 0, 1e6, 'least area of an instance, input px'),
            'nms_threshold': Threshold(
                self.nms_threshold, 0, 1, 'boxes that share more than this are one instance'
            ),
            'overlap_threshold': Threshold(
                self.overlap_threshold, 0, 1, 'largest part of an instance on better ones'
            ),
            'min_stuff_area': Threshold(
                self.min_stuff_area, 0, 1e7, 'least area of a stuff segment, input px'
            ),
        }
