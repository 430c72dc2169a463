# SPDX-License-Identifier: Apache-2.0
"""Configuration of CIAE.

Tables are those of the paper; what the paper leaves open is marked "inferred".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from panoptic_ros.models.config import ODD, FamilyConfig, Rules, at_least, one_of, threshold


@dataclass(frozen=True)
class CIAEConfig(FamilyConfig):
    """Network and decoding of CIAE; lengths in network-input pixels."""

    section = 'ciae'
    rules = Rules(
        thing_memory=one_of('merged', 'classes'),
        detector_classes=one_of('all', 'one'),
        class_from=one_of('detector', 'embedding'),
        outside_box=one_of('zero', 'excluded'),
        embedding_kernel=ODD,
        channels=at_least(4),
        tower_depth=at_least(0),
        branch_channels=at_least(4),
        embedding_dim=at_least(2),
        pre_nms_top_k=at_least(1),
        top_k=at_least(1),
    )

    earlier: ClassVar[Mapping[str, Any]] = {'outside_box': 'excluded'}

    backbone: str = 'resnet50'
    """Name of a timm model."""

    frozen_stem: bool = False
    """Whether the backbone up to stride 4 is frozen, as in RetinaNet, which the paper follows."""

    frozen_batch_norm: bool = False
    """Whether the backbone's batch norms are frozen, statistics included, as in RetinaNet."""

    channels: int = 256
    """Channels of the pyramid and of the detector's towers."""

    tower_depth: int = 4
    """Number of convolutions in each of the detector's two towers."""

    branch_channels: int = 128
    """Channels of the embedding branch (inferred, from Panoptic FPN)."""

    embedding_dim: int = 32
    """D, the embedding's length (Table X)."""

    embedding_kernel: int = 1
    """Side of the last convolutions, to P' and P'' (inferred)."""

    coord_conv: bool = True
    """Whether P5's convolutions in the embedding branch receive coordinates (Table VI)."""

    box_embedding: bool = True
    """Whether the detector's box embeddings are added to the embedding map (Table VI)."""

    stuff_branch: bool = False
    """Whether stuff comes from a softmax branch, not the embedding (Table III, first row)."""

    thing_memory: str = 'merged'
    """`merged`: thing classes share one memory; `classes`: each has its own (Table IV)."""

    detector_classes: str = 'all'
    """`all`: the detector predicts thing classes; `one`: it only finds things (Table IV)."""

    class_from: str = 'detector'
    """Source of an instance's class: `detector`, or `embedding` by the memories (Table IV)."""

    pre_nms_top_k: int = 1000
    """Locations of each level that enter suppression (inferred, from FCOS). 200 make the exported
    graph, whose shapes are fixed, much faster."""

    top_k: int = 100
    """Proposals that remain after suppression (inferred, from FCOS)."""

    nms_across_classes: bool = False
    """Whether boxes suppress those of other classes (inferred; they do not in FCOS)."""

    box_filter: bool = True
    """Whether the box of a proposal limits which pixels join it (Table VIII)."""

    outside_box: str = 'zero'
    """Similarity to a proposal outside its box: `zero` (section IV-B), so that a pixel joins the
    best proposal elsewhere if its other similarities are negative; `excluded`, below any
    cosine."""

    score_threshold: float = threshold(0.45, 1, 'least score of an instance')
    """Least score of a proposal (inferred)."""

    min_area: float = threshold(0.0, 1e6, 'least area of an instance, input px')
    """Least area of an instance, px."""

    class_threshold: float = threshold(0.05, 1, 'least class probability of an instance')
    """Least class probability of a proposal (inferred, from FCOS)."""

    nms_threshold: float = threshold(0.6, 1, 'boxes that overlap more than this are one instance')
    """IoU above which the worse of two boxes is removed (inferred, from FCOS)."""

    min_stuff_area: float = threshold(4096.0, 1e7, 'least area of a stuff segment, input px')
    """Least area of a stuff segment, px."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_from == 'embedding' and self.thing_memory != 'classes':
            raise ValueError(
                'ciae.class_from: embedding needs thing_memory: classes, got '
                f'{self.thing_memory!r}'
            )
        if self.class_from == 'detector' and self.detector_classes != 'all':
            raise ValueError(
                'ciae.class_from: detector needs detector_classes: all, got '
                f'{self.detector_classes!r}'
            )
