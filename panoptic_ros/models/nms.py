"""Greedy suppression with fixed shapes, for graphs that engines compile."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_keep(suppresses: Tensor, alive: Tensor, rounds: int | None = None) -> Tensor:
    """Greedy non-maximum suppression without a data-dependent loop.

    `keep[i] = alive[i] and no kept j < i suppresses i`. After t rounds all entries are final that
    end a chain of at most t suppressions, so K rounds give the greedy result whatever the chain.

    Args:
        suppresses: [j, i] True where j would remove i, in order of preference, (..., K, K) bool.
        alive: (..., K) bool.
        rounds: fewer than K where chains are known to be short.

    Returns:
        (..., K) bool.
    """
    better = torch.triu(torch.ones_like(suppresses, dtype=torch.float32), diagonal=1)
    start = alive.to(torch.float32)[..., None, :]  # (..., 1, K)
    matrix = suppresses.to(torch.float32) * better * start.transpose(-1, -2)  # [j, i]
    keep = start
    for _ in range(alive.shape[-1] if rounds is None else min(rounds, alive.shape[-1])):
        keep = (start - keep @ matrix).relu()  # 1 where alive, none against
    return keep[..., 0, :] > 0.5


def pairwise_iou(boxes: Tensor) -> Tensor:
    """Intersection over union of each box with each, 0 for boxes without area.

    Args:
        boxes: x1, y1, x2, y2, (..., K, 4).

    Returns:
        (..., K, K)
    """
    first, second = boxes[..., :, None, :], boxes[..., None, :, :]
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    side = (high - low).clamp(min=0)  # (..., K, K, 2)
    both = side[..., 0] * side[..., 1]
    own = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    area = own[..., 0] * own[..., 1]
    union = area[..., :, None] + area[..., None, :] - both
    return both / union.clamp(min=1e-6)
