"""The instance kernel phi of HLE (equations 7 and 8): its score and its losses.

phi = exp(-sharpness (1 - e . mean) - spatial_sharpness |rho - rho_mean|^2), where a sharpness is
1 / (2 sigma^2). An instance is computed only in the window in which its spatial factor can lift
phi above `min_error`, joined with its own box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .instances import Instance
from .lovasz import MIN_ERROR, lovasz_slope

MIN_BACKGROUND = 1e-4
"""Floor of 1 - phi in the cross-entropy, which is infinite at a background pixel with phi 1."""


def kernel_loss(embedding: Tensor, mean: Tensor, sharpness: Tensor, spatial_sharpness: Tensor,
                weight: Tensor, instances: Sequence[Instance], counts: Tensor, cell: float,
                loss: Literal['lovasz', 'ce'] = 'lovasz',
                min_error: float = MIN_ERROR) -> Tensor:
    """Weighted sum over the instances of the loss of phi against the mask, equation 11.

    Args:
        embedding: unit-norm over D, (B, D, h, w).
        mean: unit mean embedding per instance, (L, D).
        sharpness: 1 / (2 sigma^2) of each instance, (L,).
        spatial_sharpness: the same of the spatial kernel, in position units, (L,).
        weight: of each instance in the sum, (L,); no gradient flows to it.
        instances: L of them.
        counts: pixels that take part (not void, not crowd), bool, (B, h, w).
        cell: side of a cell in position units.
        loss: 'lovasz', or 'ce' for binary cross-entropy averaged over the pixels of the image
            that count.
        min_error: phi up to this much is taken as 0 outside the mask.

    Returns:
        Scalar, differentiable once by the first four arguments.
    """
    value: Tensor = _KernelLoss.apply(embedding, mean, sharpness, spatial_sharpness, weight,
                                      instances, counts, cell, loss, min_error)
    return value


@torch.no_grad()
def own_score(embedding: Tensor, mean: Tensor, sharpness: Tensor, spatial_sharpness: Tensor,
              instances: Sequence[Instance], cell: float) -> Tensor:
    """Phi of every instance pixel for its own instance, the target of the seed map.

    Args as in `kernel_loss`.

    Returns:
        (B, h, w), 0 outside the instances.
    """
    score = torch.zeros_like(embedding[:, 0])
    for i, instance in enumerate(instances):
        gap = torch.einsum('d,dyx->yx', mean[i], embedding[instance.box]) - 1
        distance = _squared_distance(instance, instance.rows, instance.columns, cell, embedding)
        phi = torch.exp(gap * sharpness[i] - distance * spatial_sharpness[i])
        score[instance.box] += phi * instance.mask
    return score


class _KernelLoss(torch.autograd.Function):
    """Finds the gradients on the way, so that nothing of one instance outlives its turn."""

    @staticmethod
    def forward(ctx: Any, embedding: Tensor, mean: Tensor, sharpness: Tensor,
                spatial_sharpness: Tensor, weight: Tensor, instances: Sequence[Instance],
                counts: Tensor, cell: float, loss: str, min_error: float) -> Tensor:
        total = embedding.new_zeros(())
        grads = [torch.zeros_like(x) for x in (embedding, mean, sharpness, spatial_sharpness)]
        by_embedding, by_mean, by_sharpness, by_spatial = grads
        counted = counts.sum(dim=(1, 2)).tolist()
        reach = (math.log(1 / min_error) / spatial_sharpness).sqrt() / cell  # in cells
        for i, (instance, radius) in enumerate(zip(instances, reach.tolist(), strict=True)):
            rows = _span(instance.rows, instance.center_yx[0], radius, counts.shape[1])
            columns = _span(instance.columns, instance.center_yx[1], radius, counts.shape[2])
            window = (instance.image, ..., rows, columns)
            local = embedding[window].flatten(1)  # (D, n)
            distance = _squared_distance(instance, rows, columns, cell, embedding).flatten()
            gap = mean[i] @ local - 1  # minus the cosine distance, (n,)
            exponent = gap * sharpness[i] - distance * spatial_sharpness[i]
            size = rows.stop - rows.start, columns.stop - columns.start
            target = counts.new_zeros(size)
            target[instance.rows.start - rows.start:instance.rows.stop - rows.start,
                   instance.columns.start - columns.start:instance.columns.stop - columns.start,
                   ] = instance.mask
            target, here = target.flatten(), counts[window].flatten()
            if loss == 'lovasz':
                value, slope = _lovasz(exponent, target, here, instance.count, min_error)
            else:
                value, slope = _cross_entropy(exponent, target, here, counted[instance.image])
            total += weight[i] * value
            slope *= weight[i]
            by_embedding[window].addcmul_((mean[i] * sharpness[i])[:, None, None],
                                          slope.view(size))
            by_mean[i] = local @ slope * sharpness[i]
            by_sharpness[i] = gap @ slope
            by_spatial[i] = -(distance @ slope)
        ctx.save_for_backward(*grads)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grad * saved for saved in ctx.saved_tensors), *[None] * 6)


def _lovasz(exponent: Tensor, target: Tensor, counts: Tensor, positives: int,
            min_error: float) -> tuple[Tensor, Tensor]:
    """Lovász loss of phi and its derivative by the exponent."""
    phi = exponent.exp()
    error = torch.where(target, 1 - phi, phi) * counts
    slope = lovasz_slope(error, target, positives, min_error)
    return slope @ error, torch.where(target, -slope, slope) * phi


def _cross_entropy(exponent: Tensor, target: Tensor, counts: Tensor,
                   counted: int) -> tuple[Tensor, Tensor]:
    """Mean binary cross-entropy of phi over `counted` pixels, its derivative by the exponent."""
    left = -torch.expm1(exponent)  # 1 - phi
    cost = torch.where(target, -exponent, -left.clamp(min=MIN_BACKGROUND).log())
    slope = torch.where(target, -1, exponent.exp() / left.clamp(min=MIN_BACKGROUND))
    share = counts.to(exponent.dtype) / counted
    return cost @ share, slope * share


def _span(box: slice, center: float, radius: float, size: int) -> slice:
    """The cells within `radius` of the centre and those of the box, inside 0 to size."""
    if not radius < size:  # NaN too: the loss is then NaN, for the trainer to deal with
        return slice(0, size)
    return slice(max(min(math.floor(center - radius), box.start), 0),
                 min(max(math.ceil(center + radius) + 1, box.stop), size))


def _squared_distance(instance: Instance, rows: slice, columns: slice, cell: float,
                      like: Tensor) -> Tensor:
    """Squared distance to the instance's centre in position units, (rows, columns)."""
    y, x = (torch.arange(span.start, span.stop, dtype=like.dtype, device=like.device)
            for span in (rows, columns))
    y, x = (y - instance.center_yx[0]) * cell, (x - instance.center_yx[1]) * cell
    return (y * y)[:, None] + (x * x)
