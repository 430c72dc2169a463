# SPDX-License-Identifier: Apache-2.0
"""Configuration of EINet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig

INTERACTIONS = ('none', 's2i', 'i2s', 'both')


@dataclass(frozen=True)
class EINetConfig(PanopticDeepLabConfig):
    """Network and decoding of EINet; lengths in network-input pixels."""

    family: ClassVar[str] = 'einet'

    lowlevel_fusion: str = 'concat'
    """How the backbone's finer maps join the decoders: `concat` or `sum` (inferred: the paper
    says only that it differs from Panoptic-DeepLab)."""

    instance_aspp: bool = False
    """An ASPP in the instance decoder too; the paper's is lighter (inferred: a 1x1 convolution
    in its place)."""

    interaction: str = 'both'
    """`s2i`: class centres enhance instance embeddings; `i2s`: these gate an update of semantic
    embeddings; `both`, each from what the decoders give (inferred); `none`."""

    interaction_channels: int = 128
    """Of queries, keys and values of `s2i` (inferred)."""

    nms_across_classes: bool = False
    """Centres suppress lower ones of other classes near them too (inferred)."""

    heatmap_loss: str = 'mse'
    """What the class-aware heatmaps learn by: `mse`, or `focal`, for which a sigmoid follows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, allowed in (
            ('lowlevel_fusion', ('concat', 'sum')),
            ('interaction', INTERACTIONS),
            ('heatmap_loss', ('mse', 'focal')),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f'einet.{key} must be one of {allowed}, got {getattr(self, key)!r}'
                )
