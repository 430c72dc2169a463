# SPDX-License-Identifier: Apache-2.0
"""Configuration of EINet."""

from dataclasses import dataclass

from panoptic_ros.models.config import Rules, one_of
from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig


@dataclass(frozen=True)
class EINetConfig(PanopticDeepLabConfig):
    """Network and decoding of EINet; lengths in network-input pixels."""

    section = 'einet'
    rules = Rules(
        lowlevel_fusion=one_of('concat', 'sum'),
        interaction=one_of('none', 's2i', 'i2s', 'both'),
        heatmap_loss=one_of('mse', 'focal'),
    )

    lowlevel_fusion: str = 'concat'
    """Fusion of the backbone's finer maps in the decoders: `concat` or `sum` (inferred: the paper
    states only that it differs from Panoptic-DeepLab)."""

    instance_aspp: bool = False
    """Whether the instance decoder has an ASPP; the paper's decoder is lighter (inferred: a 1x1
    convolution in its place)."""

    interaction: str = 'both'
    """`s2i`: class centres enhance instance embeddings; `i2s`: instance embeddings gate an update
    of semantic embeddings; `both`: each from the decoders' outputs (inferred); `none`."""

    interaction_channels: int = 128
    """Channels of queries, keys and values of `s2i` (inferred)."""

    nms_across_classes: bool = False
    """Whether centres suppress lower ones of other classes nearby (inferred)."""

    heatmap_loss: str = 'mse'
    """Loss of the class-aware heatmaps: `mse`, or `focal`, which adds a sigmoid to the heads."""
