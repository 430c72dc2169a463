# SPDX-License-Identifier: Apache-2.0
"""Exact greedy non-maximum suppression with fixed shapes.

ONNX has an operator for boxes, but the size of its output depends on the data, which CUDA graphs
and engines with fixed shapes do not support.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 128
"""Rows decided at a time; then they suppress all later rows at once."""

GROUP = 6
"""Rows of a block decided at a time, by a table with a line for each of the 2^GROUP cases."""


def greedy_keep(suppresses: Tensor, alive: Tensor, rounds: int | None = None) -> Tensor:
    """Apply greedy non-maximum suppression without a data-dependent loop.

    `keep[i] = alive[i] and no kept j < i suppresses i`.

    Args:
        suppresses: [j, i] is True where j removes i; rows in order of preference,
            (..., K, K) bool.
        alive: rows that take part, (..., K) bool.
        rounds: decides all rows together by this many rounds of the definition, which is exact
            if no chain of suppressions is longer; None is always exact.

    Returns:
        (..., K) bool.
    """
    matrix = suppresses.to(torch.float32)
    left = alive.to(torch.float32)[..., None, :]  # (..., 1, rows not yet decided): 1 where alive
    if rounds is not None:
        return _by_rounds(matrix, left, rounds).squeeze(-2) > 0.5
    count = alive.shape[-1]
    sizes = [min(BLOCK, count - first) for first in range(0, count, BLOCK)]
    kept = []
    for i, rows in enumerate(matrix.split(sizes, dim=-2)):
        columns = rows.split(sizes, dim=-1)
        start = left.split(sizes[i:], dim=-1)
        kept.append(_by_groups(columns[i], start[0]))
        if start[1:]:
            against = kept[-1] @ torch.cat(columns[i + 1 :], dim=-1)
            left = (torch.cat(start[1:], dim=-1) - against).relu()
    return torch.cat(kept, dim=-1).squeeze(-2) > 0.5


def _by_rounds(suppresses: Tensor, alive: Tensor, rounds: int) -> Tensor:
    """Apply the definition to all rows, round by round; after t rounds t + 1 rows are final.

    Args:
        suppresses: 0 or 1, (..., n, n).
        alive: 0 or 1, (..., 1, n).
        rounds: see `greedy_keep`.

    Returns:
        1 for rows that are kept, (..., 1, n).
    """
    row = torch.arange(suppresses.shape[-1], device=alive.device)
    earlier = (row[:, None] < row).to(suppresses.dtype)
    one = torch.ones_like(alive[..., :1])
    start = torch.cat([one, alive], dim=-1)
    # A round is two operations: relu([1, keep] @ step) is [1, next keep]. Small operations cost
    # a GPU their start, not their arithmetic.
    step = torch.cat([start, F.pad(-suppresses * earlier, (1, 0))], dim=-2)
    keep = start
    for _ in range(rounds):
        keep = (keep @ step).relu()
    return keep.split([1, alive.shape[-1]], dim=-1)[1]


def _by_groups(suppresses: Tensor, alive: Tensor) -> Tensor:
    """Decide the rows in groups of GROUP; g groups take 4 (g - 1) operations and some fixed ones.

    Which rows of a group are kept depends on which of them no earlier group has suppressed. There
    are 2^GROUP cases; a table of all groups says for each what is kept, and what that suppresses.
    The case of a group is then looked up by products: `relu` of the sum over agreeing rows, less
    all but one, is 1 for the right case and 0 for the others.

    Args:
        suppresses: 0 or 1, (..., n, n).
        alive: 0 or 1, (..., 1, n).

    Returns:
        1 for rows that are kept, (..., 1, n).
    """
    count = alive.shape[-1]
    groups = -(-count // GROUP)
    if rest := groups * GROUP - count:
        suppresses, alive = F.pad(suppresses, (0, rest, 0, rest)), F.pad(alive, (0, rest))
    size = groups * GROUP
    row = torch.arange(size, device=alive.device)
    member = torch.arange(GROUP, device=alive.device)
    case = torch.arange(2**GROUP, device=alive.device)[:, None] // 2**member % 2  # (cases, GROUP)
    case = case.to(alive.dtype)
    group = (row // GROUP).view(groups, GROUP)[..., None]  # (groups, GROUP, 1)
    place = (row == row.view(groups, GROUP)[..., None]).to(alive.dtype)  # (groups, GROUP, size)
    inside = ((group == row // GROUP) & (row.view(groups, GROUP)[..., None] < row)).to(alive.dtype)
    later = (group < row // GROUP).to(alive.dtype)
    fold = -(row[:, None] % GROUP == member).to(alive.dtype)  # (size, GROUP)

    rows = suppresses.unflatten(-2, (groups, GROUP))  # (..., groups, GROUP, size)
    # Each case is decided by the definition: relu([kept, case] @ step) is [next kept, case].
    eye = torch.eye(GROUP, device=alive.device, dtype=alive.dtype)
    both = F.pad(torch.cat([eye, eye], dim=1), (0, 0, GROUP, 0))  # (2 GROUP, 2 GROUP)
    step = F.pad((rows * inside) @ fold, (0, GROUP, 0, GROUP)) + both
    decided = torch.cat([case, case], dim=1)  # (cases, 2 GROUP)
    for _ in range(GROUP - 1):
        decided = (decided @ step).relu()
    # (..., groups * cases, size): what each case of each group keeps, and suppresses afterwards
    kept, against = (
        (decided @ F.pad(part, (0, 0, 0, GROUP))).flatten(-3, -2) for part in (place, rows * later)
    )

    one = torch.ones_like(alive[..., :1])
    start = torch.cat([one, alive], dim=-1)
    table = torch.cat([start, F.pad(-against, (1, 0))], dim=-2)
    agree = (2 * case - 1) @ place  # (groups, cases, size)
    least = (1 - case.sum(dim=1)).expand(groups, -1).reshape(1, -1)  # (1, groups * cases)
    look_up = F.pad(torch.cat([least, agree.flatten(0, 1).T]), (1, 0))
    look_up = look_up + F.pad(torch.ones_like(look_up[:1, :1]), (0, look_up.shape[1] - 1, 0, size))
    free = start
    for _ in range(groups - 1):  # after t rounds it is known what suppresses the group t
        free = ((free @ look_up).relu() @ table).relu()
    keep = (free @ look_up).relu() @ F.pad(kept, (0, 0, 1, 0))
    return keep[..., :count] if rest else keep


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
