# SPDX-License-Identifier: Apache-2.0
"""Seeds: local maxima of a map, which of them to keep, and which one a cell belongs to.

Shared by the families whose instances grow from points. Everything is written for export.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.segments import ROW_CHUNK


def find_peaks(score: Tensor, window: int, top_k: int) -> tuple[Tensor, Tensor]:
    """The best local maxima of some maps, each map for itself.

    Args:
        score: (C, h, w), or of a batch of images (B, C, h, w); NEVER where no peak may be.
        window: side of the window in which only the highest survives, cells, odd.
        top_k: K.

    Returns:
        Scores in descending order, NEVER where there is no peak, and places in the flattened
        maps, (K,) or (B, K). Equal maxima in one window are all peaks.
    """
    maps = score.reshape(-1, *score.shape[-3:])  # (B, C, h, w)
    highest = F.max_pool2d(maps, window, stride=1, padding=window // 2).view_as(score)
    peak = torch.where(score == highest, score, NEVER).flatten(-3)
    values, places = peak.topk(min(top_k, peak.shape[-1]), dim=-1)
    return values, places


def best_match(
    features: Tensor, weights: Tensor, allowed: Callable[[slice], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """For each cell the seed of largest product.

    Args:
        features: of the cells, (..., D).
        weights: of the seeds, (K, D).
        allowed: which cells may choose a slice of the seeds, (..., k) bool; all unless given.

    Returns:
        The product, NEVER where no seed is allowed, and the seed's row, (...).
    """
    best: Tensor | None = None
    for first in range(0, weights.shape[0], ROW_CHUNK):
        rows = slice(first, first + ROW_CHUNK)
        # Seeds last: ONNX Runtime finds a maximum's place 7 times as fast where its axis is dense.
        product = features @ weights[rows].T
        if allowed is not None:
            product = torch.where(allowed(rows), product, NEVER)
        value, row = product.max(dim=-1)
        if best is None:
            best, best_row = value, row
        else:
            better = value > best
            best = torch.where(better, value, best)
            best_row = torch.where(better, row + first, best_row)
    assert best is not None
    return best, best_row
