# SPDX-License-Identifier: Apache-2.0
"""Local maxima of maps, and the assignment of cells to the best of several candidates.

Shared by the families whose instances grow from points. Everything is written for export.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.segments import row_slices, take


def find_peaks(score: Tensor, window: int, top_k: int) -> tuple[Tensor, Tensor]:
    """Find the highest local maxima of several maps, each map on its own.

    Args:
        score: (C, h, w), or (B, C, h, w) for a batch; NEVER where a peak is not allowed.
        window: side of the window in which only the highest cell survives, cells, odd.
        top_k: K, the number of peaks.

    Returns:
        Scores in descending order, NEVER in rows without a peak, and the peaks' places in the
        flattened maps; both (K,) or (B, K). Equal maxima in one window are all peaks.
    """
    maps = score.reshape(-1, *score.shape[-3:])  # (B, C, h, w)
    highest = F.max_pool2d(maps, window, stride=1, padding=window // 2).view_as(score)
    peak = torch.where(score == highest, score, NEVER).flatten(-3)
    values, places = peak.topk(min(top_k, peak.shape[-1]), dim=-1)
    return values, places


def row_and_column(place: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the row and column of places in a flattened map, float32.

    Integer division takes TensorRT ten layers. This is exact for maps of at most 2048 x 2048.
    """
    place = place.to(torch.float32)
    row = ((place + 0.5) / width).floor()
    return row, place - row * width


def best_match(
    features: Tensor,
    weights: Tensor,
    allowed: Callable[[slice], Tensor] | None = None,
    otherwise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Assign each cell to the candidate with the largest scalar product.

    Args:
        features: of the cells, (..., D).
        weights: of the candidates, (K, D).
        allowed: for a slice of k candidates, the cells that may choose each, (..., k) bool;
            None allows all.
        otherwise: value of each candidate in place of the product where it is not allowed, (K,);
            None is NEVER.

    Returns:
        The product, NEVER where no candidate is allowed, and the candidate's row; both (...).
    """
    best: Tensor | None = None
    for rows in row_slices(weights.shape[0], features.shape[:-1].numel()):
        # Candidates come last: ONNX Runtime's ArgMax is 7 times faster along a contiguous axis.
        product = features @ take(weights, rows).T
        if allowed is not None:
            other = NEVER if otherwise is None else take(otherwise, rows)
            product = torch.where(allowed(rows), product, other)
        value, row = product.max(dim=-1)
        if best is None:
            best, best_row = value, row
        else:
            better = value > best
            best = torch.where(better, value, best)
            best_row = torch.where(better, row + rows.start, best_row)
    assert best is not None
    return best, best_row
