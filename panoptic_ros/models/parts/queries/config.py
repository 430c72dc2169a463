# SPDX-License-Identifier: Apache-2.0
"""Configuration of the decoding of queries."""

from __future__ import annotations

from dataclasses import dataclass

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class QueryDecodeConfig:
    """Decoding of queries into segments; lengths in network-input pixels."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    stride: int = 4
    """Input pixels per cell of the decoded maps: 1, 2 or 4; masks are predicted at 4."""

    score_threshold: float = 0.5
    """Least class probability of a query; the library's default, 0.8 for EoMT."""

    mask_threshold: float = 0.5
    """Least probability of a pixel in a query's own mask."""

    overlap_threshold: float = 0.8
    """Part of its own mask that a query must win to become a segment."""

    min_area: float = 0.0
    """Least area of an instance, px."""

    min_stuff_area: float = 0.0
    """Least area of a stuff segment, px."""

    def __post_init__(self) -> None:
        if self.stride not in (1, 2, 4):
            raise ValueError(f'stride must be 1, 2 or 4, got {self.stride!r}')
        for name in ('score_threshold', 'mask_threshold', 'overlap_threshold'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must lie in 0 to 1, got {getattr(self, name)}')

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph, by name."""
        size = 1e7
        return {
            'score_threshold': Threshold(
                self.score_threshold, 0, 1, 'least class probability of a query'
            ),
            'mask_threshold': Threshold(
                self.mask_threshold, 0, 1, "from which probability a pixel is a query's own"
            ),
            'overlap_threshold': Threshold(
                self.overlap_threshold, 0, 1, 'share of its own mask that a query must win'
            ),
            'min_area': Threshold(self.min_area, 0, size, 'least area of an instance, px'),
            'min_stuff_area': Threshold(
                self.min_stuff_area, 0, size, 'least area of a stuff segment, px'
            ),
        }
