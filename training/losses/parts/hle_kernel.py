# SPDX-License-Identifier: Apache-2.0
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

LOG_SIGMA_LIMIT = 7.0
"""Log deviations are cut to plus or minus this, so that 1 / sigma^2 stays finite in float32."""

MIN_BACKGROUND = 1e-4
"""Floor of 1 - phi in the cross-entropy, which is infinite at a background pixel with phi 1."""


def bounded_sigma(log_sigma: Tensor) -> Tensor:
    """The deviation, its logarithm cut to plus or minus LOG_SIGMA_LIMIT."""
    return log_sigma.clamp(-LOG_SIGMA_LIMIT, LOG_SIGMA_LIMIT).exp()


def sharpness(sigma: Tensor) -> Tensor:
    """1 / (2 sigma^2), what a distance is multiplied with in the kernels."""
    return 0.5 / sigma.square()


def kernel_loss(
    embedding: Tensor,
    mean: Tensor,
    sharpness: Tensor,
    spatial_sharpness: Tensor,
    weight: Tensor,
    instances: Sequence[Instance],
    instance_map: Tensor,
    cell: float,
    loss: Literal['lovasz', 'ce'] = 'lovasz',
    min_error: float = MIN_ERROR,
) -> tuple[Tensor, Tensor]:
    """Weighted sum over the instances of the loss of phi against the mask, equation 11.

    Args:
        embedding: unit-norm over D, (B, D, h, w).
        mean: unit mean embedding per instance, (L, D).
        sharpness: 1 / (2 sigma^2) of each instance, (L,).
        spatial_sharpness: the same of the spatial kernel, in position units, (L,).
        weight: of each instance in the sum, (L,); no gradient flows to it.
        instances: L of them.
        instance_map: ids, 0 where there is none, below 0 on pixels that take no part (void,
            crowd), (B, h, w).
        cell: side of a cell in position units.
        loss: 'lovasz', or 'ce' for binary cross-entropy averaged over the pixels of the image
            that take part.
        min_error: phi up to this much is taken as 0 outside the mask.

    Returns:
        The sum, a scalar that can be differentiated once by the first four arguments; and phi
        of every instance pixel for its own instance, 0 elsewhere, without gradient, (B, h, w).
    """
    value, score = _KernelLoss.apply(
        embedding,
        mean,
        sharpness,
        spatial_sharpness,
        weight,
        instances,
        instance_map,
        cell,
        loss,
        min_error,
    )
    return value, score


class _KernelLoss(torch.autograd.Function):
    """Finds the gradients on the way, so that nothing of one instance outlives its turn."""

    @staticmethod
    def forward(
        ctx: Any,
        embedding: Tensor,
        mean: Tensor,
        sharpness: Tensor,
        spatial_sharpness: Tensor,
        weight: Tensor,
        instances: Sequence[Instance],
        instance_map: Tensor,
        cell: float,
        loss: str,
        min_error: float,
    ) -> tuple[Tensor, Tensor]:
        total, score = embedding.new_zeros(()), torch.zeros_like(embedding[:, 0])
        grads = [torch.zeros_like(x) for x in (embedding, mean, sharpness, spatial_sharpness)]
        by_embedding, by_mean, by_sharpness, by_spatial = grads
        height, width = instance_map.shape[1:]
        counted = (instance_map >= 0).sum(dim=(1, 2)).tolist()
        reach = ((math.log(1 / min_error) / spatial_sharpness).sqrt() / cell).tolist()  # cells
        center = embedding.new_tensor([i.center_yx for i in instances]).view(-1, 2)
        dy, dx = (
            ((torch.arange(size).to(center) - at[:, None]) * cell).square_()
            for size, at in ((height, center[:, 0]), (width, center[:, 1]))
        )  # (L, size)
        for i, instance in enumerate(instances):
            rows = _span(instance.rows, instance.center_yx[0], reach[i], height)
            columns = _span(instance.columns, instance.center_yx[1], reach[i], width)
            window = (instance.image, ..., rows, columns)
            local = embedding[window]
            size, local = local.shape[1:], local.flatten(1)  # (D, n)
            distance = (dy[i, rows, None] + dx[i, columns]).flatten()
            gap = mean[i] @ local - 1  # minus the cosine distance, (n,)
            exponent = gap * sharpness[i] - distance * spatial_sharpness[i]
            phi = exponent.exp()
            ids = instance_map[window].flatten()
            target, takes_part = ids == instance.id, ids >= 0
            if loss == 'lovasz':
                error = torch.where(target, 1 - phi, phi) * takes_part
                slope = lovasz_slope(error, target, instance.count, min_error)
                value = slope @ error
                slope = torch.where(target, -slope, slope) * phi  # by the exponent
            else:
                cost, slope = _cross_entropy(exponent, phi, target)
                share = takes_part.to(phi.dtype) / counted[instance.image]
                value, slope = cost @ share, slope * share
            total += weight[i] * value
            score[window] += (phi * target).view(size)
            slope *= weight[i]
            by_embedding[window].addcmul_(
                (mean[i] * sharpness[i])[:, None, None], slope.view(size)
            )
            by_mean[i] = local @ slope * sharpness[i]
            by_sharpness[i] = gap @ slope
            by_spatial[i] = -(distance @ slope)
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(score)
        return total, score

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grad * saved for saved in ctx.saved_tensors), *[None] * 6)


def _cross_entropy(exponent: Tensor, phi: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of each pixel and its derivative by the exponent."""
    left = (-torch.expm1(exponent)).clamp(min=MIN_BACKGROUND)  # 1 - phi
    return (torch.where(target, -exponent, -left.log()), torch.where(target, -1, phi / left))


def _span(box: slice, center: float, radius: float, size: int) -> slice:
    """The cells within `radius` of the centre and those of the box, inside 0 to size."""
    if not radius < size:  # NaN too: the loss is then NaN, for the trainer to deal with
        return slice(0, size)
    return slice(
        max(min(math.floor(center - radius), box.start), 0),
        min(max(math.ceil(center + radius) + 1, box.stop), size),
    )
