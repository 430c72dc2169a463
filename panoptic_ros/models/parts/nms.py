# SPDX-License-Identifier: Apache-2.0
"""Exact greedy non-maximum suppression with fixed shapes.

ONNX has an operator for boxes, but the size of its output depends on the data, which CUDA graphs
and engines with fixed shapes do not support.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 128
"""Rows decided at a time; the rounds inside a block work on BLOCK x BLOCK numbers only."""


def greedy_keep(suppresses: Tensor, alive: Tensor, rounds: int | None = None) -> Tensor:
    """Apply greedy non-maximum suppression without a data-dependent loop.

    `keep[i] = alive[i] and no kept j < i suppresses i`. After t rounds, the first
    t + 1 rows of a block are final, so that a block of n rows needs n - 1 rounds, however long
    its chains of suppressions are. A finished block then suppresses all later rows at once.

    Args:
        suppresses: [j, i] is True where j removes i; rows in order of preference,
            (..., K, K) bool.
        alive: rows that take part, (..., K) bool.
        rounds: decides all rows as one block in this many rounds, which is exact if no chain of
            suppressions is longer; None is always exact, in K rounds.

    Returns:
        (..., K) bool.
    """
    matrix = suppresses.to(torch.float32)
    count, block = alive.shape[-1], BLOCK if rounds is None else alive.shape[-1]
    sizes = [min(block, count - first) for first in range(0, count, block)]
    left = alive.to(torch.float32)[..., None, :]  # (..., 1, rows not yet decided): 1 where alive
    kept = []
    for i, rows in enumerate(matrix.split(sizes, dim=-2)):
        columns = rows.split(sizes, dim=-1)
        start = left.split(sizes[i:], dim=-1)
        step = _one_round(columns[i], start[0])
        keep = step.split([1, sizes[i]], dim=-2)[0]
        for _ in range(sizes[i] - 1 if rounds is None else rounds):
            keep = (keep @ step).relu()
        kept.append(keep.split([1, sizes[i]], dim=-1)[1])
        if start[1:]:
            against = kept[-1] @ torch.cat(columns[i + 1 :], dim=-1)
            left = (torch.cat(start[1:], dim=-1) - against).relu()
    return torch.cat(kept, dim=-1).squeeze(-2) > 0.5


def _one_round(suppresses: Tensor, alive: Tensor) -> Tensor:
    """Return the matrix of one round: `relu([1, keep] @ matrix)` is `[1, next keep]`.

    A round is then two operations; small operations cost a GPU their start, not their arithmetic.

    Args:
        suppresses: [j, i] of one block, 0 or 1, (..., n, n).
        alive: 0 or 1, (..., 1, n).

    Returns:
        (..., n + 1, n + 1)
    """
    row = torch.arange(suppresses.shape[-1], device=alive.device)
    earlier = (row[:, None] < row).to(suppresses.dtype)
    one = torch.ones_like(alive[..., :1])
    return torch.cat(
        [torch.cat([one, alive], dim=-1), F.pad(-suppresses * earlier, (1, 0))], dim=-2
    )


def keep_boxes(
    box: Tensor, group: Tensor | None, alive: Tensor, threshold: Tensor | float
) -> Tensor:
    """Apply greedy suppression by overlap to boxes.

    Args:
        box: x1, y1, x2, y2, best first, (N, 4).
        group: boxes of different groups do not suppress each other, (N,) integer; None puts all
            into one group.
        alive: boxes that take part, (N,) bool.
        threshold: IoU above which the worse box is removed, ().

    Returns:
        The boxes that remain, (N,) bool.
    """
    suppresses = pairwise_iou(box) > threshold
    if group is not None:
        suppresses = suppresses & (group[:, None] == group)
    return greedy_keep(suppresses, alive)


def pairwise_iou(boxes: Tensor) -> Tensor:
    """Compute the IoU of all pairs of boxes, 0 for boxes without area.

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
