# SPDX-License-Identifier: Apache-2.0
"""Lovász extension of the Jaccard loss, HLE section 3.3 (equations 3 to 6).

With G positives and the errors sorted downwards, the weight of an error is the growth of
`J = 1 - IoU` when its pixel joins those taken so far. Written out, with U the union after the
pixel joins, that growth is 1 / U for a positive and (G - positives taken) / (U (U - 1)) for a
negative, which keeps its digits in float32 where the difference of two J loses them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

MIN_ERROR = 1e-5
"""Errors up to this much leave the sort. As the loss is the integral over t in [0, 1] of
J({error > t}), and J is at most 1, leaving them out changes it by no more than this."""

COUNTING_SIZE = 2**16
"""From this many pixels on, errors are counted by level and not sorted: several times faster."""

LEVELS = 2**16
"""Levels of error then told apart; the loss changes by at most 1 / LEVELS."""


def lovasz_binary(prob: Tensor, target: Tensor, min_error: float = MIN_ERROR) -> Tensor:
    """Lovász loss of one mask, equations 3 to 5.

    Args:
        prob: foreground probability in [0, 1], (N,).
        target: foreground, bool, (N,).
        min_error: smaller errors are left out; the loss changes by at most this, see MIN_ERROR.

    Returns:
        Scalar in [0, 1]; without positives the largest error, without pixels 0.
    """
    if prob.ndim != 1 or target.shape != prob.shape:
        raise ValueError(
            'lovasz_binary expects prob and target (N,), got '
            f'{tuple(prob.shape)} and {tuple(target.shape)}'
        )
    error = torch.where(target, 1 - prob, prob)
    slope = lovasz_slope(error.detach(), target, int(target.sum()), min_error)
    return (slope * error).sum()


def lovasz_softmax(
    prob: Tensor,
    class_map: Tensor,
    void_id: int,
    classes: Literal['present', 'all'] = 'present',
    min_error: float = MIN_ERROR,
) -> Tensor:
    """Mean over classes of the Lovász loss, one class against the rest, equation 6.

    All images of the batch are ranked together.

    Args:
        prob: class probabilities, (B, C, h, w).
        class_map: class ids, (B, h, w); void pixels do not count.
        void_id: the id of void.
        classes: 'present' averages over the classes seen in the batch, 'all' over all C.
        min_error: as in `lovasz_binary`.

    Returns:
        Scalar; 0 with zero gradient when no pixel counts.
    """
    if prob.ndim != 4 or class_map.shape != prob[:, 0].shape:
        raise ValueError(
            'lovasz_softmax expects prob (B, C, h, w) and class_map (B, h, w), got '
            f'{tuple(prob.shape)} and {tuple(class_map.shape)}'
        )
    # The loss is linear in the probabilities once the order is fixed, so autograd needs to see
    # one product only: loss = sum(coefficient * prob) + constant.
    coefficient = torch.zeros_like(prob)
    constant = prob.new_zeros(())
    counts = class_map != void_id
    positives = torch.bincount(class_map[counts], minlength=prob.shape[1]).tolist()
    if len(positives) > prob.shape[1]:
        raise ValueError(
            f'lovasz_softmax got class id {len(positives) - 1} for '
            f'{prob.shape[1]} classes; void is {void_id}'
        )
    used = [c for c, count in enumerate(positives) if count or classes == 'all']
    for c in used:
        target = class_map == c
        error = torch.where(target, 1 - prob.detach()[:, c], prob.detach()[:, c]) * counts
        slope = lovasz_slope(error.flatten(), target.flatten(), positives[c], min_error)
        slope = slope.view_as(error)
        coefficient[:, c] = torch.where(target, -slope, slope)
        constant += (slope * target).sum()
    return ((coefficient * prob).sum() + constant) / max(len(used), 1)


@torch.no_grad()
def lovasz_slope(
    error: Tensor, target: Tensor, positives: int, min_error: float = MIN_ERROR
) -> Tensor:
    """Derivative of the Lovász loss by each error; the loss is `sum(slope * error)`.

    Args:
        error: errors in [0, 1], (N,).
        target: foreground, bool, (N,).
        positives: foreground pixels of the whole image, which may be more than are given here
            as long as those left out have no error.
        min_error: as in `lovasz_binary`.

    Returns:
        (N,), 0 where the error is at most `min_error`.
    """
    if positives == 0:  # J is 1 from the first pixel on: only the largest error counts
        slope = torch.zeros_like(error)
        if len(error):
            peak = error.argmax()
            slope[peak] = error[peak] > min_error
        return slope
    if len(error) >= COUNTING_SIZE:
        return _counted_slope(error, target, positives).mul_(error > min_error)
    return _sorted_slope(error, target, positives, min_error)


def _sorted_slope(error: Tensor, target: Tensor, positives: int, min_error: float) -> Tensor:
    """`lovasz_slope` by sorting."""
    kept = (error > min_error).nonzero()[:, 0]
    order = kept.index_select(0, _descending(error.index_select(0, kept)))
    hit = target.index_select(0, order)
    taken = hit.cumsum(0).to(error.dtype)
    union = (
        torch.arange(
            positives + 1, positives + 1 + len(order), dtype=error.dtype, device=error.device
        )
        - taken
    )
    growth = torch.where(hit, 1 / union, (positives - taken) / (union * (union - 1)).clamp(min=1))
    return torch.zeros_like(error).index_copy_(0, order, growth)


def _counted_slope(error: Tensor, target: Tensor, positives: int) -> Tensor:
    """`lovasz_slope` by counting the pixels of each of LEVELS levels of error.

    Equal levels rank as ties, positives first, and negatives share their growth evenly.
    """
    level = (error * LEVELS).to(torch.int32).clamp_(0, LEVELS - 1)
    code = ((LEVELS - 1 - level) << 1) | ~target  # from the largest error down
    count = torch.bincount(code, minlength=2 * LEVELS).view(LEVELS, 2)
    taken, passed = count.cumsum(dim=0).to(torch.float64).unbind(1)
    before = positives + passed - count[:, 1]  # union before the negatives of this level
    growth = torch.stack([1 / before, (positives - taken) / (before * (positives + passed))], 1)
    return growth.flatten().to(error.dtype).index_select(0, code)


def _descending(error: Tensor) -> Tensor:
    """Order that sorts non-negative errors (N,) downwards; equal ones keep their places."""
    if error.device.type != 'cpu' or error.dtype != torch.float32:
        return torch.argsort(error, descending=True, stable=True)
    # NumPy sorts plain integers several times faster than torch finds an order. The bits of
    # non-negative floats rank as the floats do; the place rides along in the lower half.
    key = (~error.view(torch.int32)).to(torch.int64) << 32
    key |= torch.arange(len(error))
    key.numpy().sort()
    return key & 0xFFFFFFFF
