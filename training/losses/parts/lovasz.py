# SPDX-License-Identifier: Apache-2.0
"""Lovász extension of the Jaccard loss, HLE section 3.3 (equations 3 to 6).

Berman et al., The Lovász-Softmax Loss, CVPR 2018. The errors are sorted in descending order and
their pixels added to the prediction error set one by one. The weight of an error is the increase
of `J = 1 - IoU` that its pixel causes. With G positives, and U the union after the pixel was
added, this increase is 1 / U for a positive and (G - positives so far) / (U (U - 1)) for a
negative. These formulas are accurate in float32; the difference of two values of J is not.
"""

from typing import Literal

import torch
from torch import Tensor

from .checks import check_dims

MIN_ERROR = 1e-5
"""Errors up to this value are left out of the sort. The loss is the integral over t in [0, 1] of
J({error > t}), and J is at most 1, so leaving them out changes the loss by at most this value."""

COUNTING_SIZE = 2**16
"""Number of pixels from which on errors are counted by level instead of sorted, which is several
times faster."""

LEVELS = 2**16
"""Number of levels of error in counting; it changes the loss by at most 1 / LEVELS."""


def lovasz_binary(prob: Tensor, target: Tensor, min_error: float = MIN_ERROR) -> Tensor:
    """Compute the Lovász loss of one mask, equations 3 to 5.

    Args:
        prob: foreground probability in [0, 1], (N,).
        target: foreground, (N,) bool.
        min_error: errors up to this value are left out, see MIN_ERROR.

    Returns:
        Scalar in [0, 1]; without positives the largest error, without pixels 0.

    Example:
        >>> target = torch.tensor([True, True, False])
        >>> lovasz_binary(torch.tensor([1.0, 0.0, 0.0]), target)  # 1 - IoU of a hard prediction
        tensor(0.5000)
    """
    check_dims('lovasz_binary', 'prob (N,) and target (N,)', prob, target)
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
    """Compute the mean over classes of the Lovász loss of each class against the rest, equation 6.

    The errors of all images of the batch are sorted together.

    Args:
        prob: class probabilities, (B, C, h, w).
        class_map: class ids, (B, h, w); void pixels do not count.
        void_id: id of void.
        classes: 'present' averages over the classes in the batch, 'all' over all C.
        min_error: errors up to this value are left out, see MIN_ERROR.

    Returns:
        Scalar; 0 with zero gradient when no pixel counts.
    """
    check_dims('lovasz_softmax', 'prob (B, C, h, w) and class_map (B, h, w)', prob, class_map)
    # For a fixed order, the loss is linear in the probabilities, so autograd records only one
    # product: loss = sum(coefficient * prob) + constant.
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
    """Compute the derivative of the Lovász loss by each error; the loss is `sum(slope * error)`.

    Args:
        error: errors in [0, 1], (N,).
        target: foreground, (N,) bool.
        positives: number of foreground pixels of the whole image. It may exceed those in `target`
            if the error of the missing ones is 0.
        min_error: errors up to this value are left out, see MIN_ERROR.

    Returns:
        (N,), 0 where the error is at most `min_error`.
    """
    if positives == 0:  # J is 1 after the first pixel: only the largest error counts
        slope = torch.zeros_like(error)
        if len(error):
            peak = error.argmax()
            slope[peak] = error[peak] > min_error
        return slope
    if len(error) >= COUNTING_SIZE:
        return _counted_slope(error, target, positives).mul_(error > min_error)
    return _sorted_slope(error, target, positives, min_error)


def _sorted_slope(error: Tensor, target: Tensor, positives: int, min_error: float) -> Tensor:
    """Compute `lovasz_slope` by sorting."""
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
    """Compute `lovasz_slope` by counting the pixels at each of LEVELS levels of error.

    Pixels of the same level are ties: positives come first, and the negatives share their increase
    equally.
    """
    level = (error * LEVELS).to(torch.int32).clamp_(0, LEVELS - 1)
    code = ((LEVELS - 1 - level) << 1) | ~target  # in descending order of error
    count = torch.bincount(code, minlength=2 * LEVELS).view(LEVELS, 2)
    taken, passed = count.cumsum(dim=0).to(torch.float64).unbind(1)
    before = positives + passed - count[:, 1]  # union before the negatives of this level
    growth = torch.stack([1 / before, (positives - taken) / (before * (positives + passed))], 1)
    return growth.flatten().to(error.dtype).index_select(0, code)


def _descending(error: Tensor) -> Tensor:
    """Return the stable order that sorts non-negative errors (N,) in descending order."""
    if error.device.type != 'cpu' or error.dtype != torch.float32:
        return torch.argsort(error, descending=True, stable=True)
    # NumPy sorts integers several times faster than torch.argsort works. The bit patterns of
    # non-negative floats have the order of the floats; the lower half of the key is the index.
    key = (~error.view(torch.int32)).to(torch.int64) << 32
    key |= torch.arange(len(error))
    key.numpy().sort()
    return key & 0xFFFFFFFF
