# SPDX-License-Identifier: Apache-2.0
"""Configuration of the decoding of queries."""

from dataclasses import dataclass

from panoptic_ros.models.config import SHARE, FamilyConfig, Rules, threshold


@dataclass(frozen=True)
class QueryDecodeConfig(FamilyConfig):
    """Decoding of queries into segments; lengths in network-input pixels."""

    rules = Rules(score_threshold=SHARE, mask_threshold=SHARE, overlap_threshold=SHARE)

    stride: int = 4
    """Input pixels per cell of the decoded maps: 1, 2 or 4; masks are predicted at 4."""

    score_threshold: float = threshold(0.5, 1, 'least class probability of a query')
    """Least class probability of a query; the library's default, 0.8 for EoMT."""

    mask_threshold: float = threshold(0.5, 1, "from which probability a pixel is a query's own")
    """Least probability of a pixel in a query's own mask."""

    overlap_threshold: float = threshold(0.8, 1, 'share of its own mask that a query must win')
    """Part of its own mask that a query must win to become a segment."""

    min_area: float = threshold(0.0, 1e7, 'least area of an instance, px')
    """Least area of an instance, px."""

    min_stuff_area: float = threshold(0.0, 1e7, 'least area of a stuff segment, px')
    """Least area of a stuff segment, px."""
