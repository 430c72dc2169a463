"""Greedy non-maximum suppression with fixed shapes: exact, and the same in every engine.

ONNX has an operator for boxes, but the size of its answer depends on the data, which engines and
CUDA graphs of fixed shapes dislike.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

BLOCK = 32
"""Rows settled at a time; the rounds inside a block work on BLOCK x BLOCK numbers only."""


def greedy_keep(suppresses: Tensor, alive: Tensor) -> Tensor:
    """Greedy non-maximum suppression, exact, without a data-dependent loop.

    `keep[i] = alive[i] and no kept j < i suppresses i`. Inside a block, after t rounds the first
    t + 1 rows are final, so one round less than there are rows gives the greedy result whatever
    the chain of suppressions; a settled block then suppresses all rows behind it at once.

    Args:
        suppresses: [j, i] True where j would remove i, in order of preference, (K, K) bool.
        alive: (K,) bool.

    Returns:
        (K,) bool.
    """
    matrix = suppresses.to(torch.float32)
    left = alive.to(torch.float32)[None]  # (1, rows from `first` on): 1 where still alive
    kept = []
    for first in range(0, matrix.shape[0], BLOCK):
        last = min(first + BLOCK, matrix.shape[0])
        own = torch.triu(matrix[first:last, first:last], diagonal=1)  # [j, i]
        start = left[:, :last - first]
        keep = start
        for _ in range(last - first - 1):
            keep = torch.addmm(start, keep, own, alpha=-1).relu()  # 1 where alive, none against
        kept.append(keep)
        if last < matrix.shape[0]:
            left = torch.addmm(left[:, last - first:], keep, matrix[first:last, last:],
                               alpha=-1).relu()
    return torch.cat(kept, dim=1)[0] > 0.5


def keep_boxes(box: Tensor, group: Tensor | None, alive: Tensor, threshold: Tensor) -> Tensor:
    """Which boxes greedy suppression by overlap leaves.

    Args:
        box: x1, y1, x2, y2, the best first, (N, 4).
        group: boxes of different groups leave each other alone, (N,) integer; None is one group.
        alive: boxes that take part, (N,) bool.
        threshold: IoU above which the worse box goes, ().

    Returns:
        (N,) bool.
    """
    suppresses = box_iou(box, box) > threshold  # boxes without area give NaN, which is not above
    if group is not None:
        suppresses = suppresses & (group[:, None] == group)
    return greedy_keep(suppresses, alive)
