# SPDX-License-Identifier: Apache-2.0
"""Instance kernel phi of HLE (equations 7 and 8): its values and its losses.

`phi = exp(-sharpness (1 - e . mean) - spatial_sharpness |rho - rho_mean|^2)`, where a sharpness is
1 / (2 sigma^2), e is the embedding of a pixel and rho its position. For each instance, phi is
computed only inside a window, which contains its bounding box and the cells where the spatial
factor is above `min_error`.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .instances import Instance
from .lovasz import MIN_ERROR, lovasz_slope

MIN_BACKGROUND = 1e-4
"""Lower bound of 1 - phi in the cross-entropy, which is infinite at a background pixel with phi
1."""


def sharpness(sigma: Tensor) -> Tensor:
    """Return 1 / (2 sigma^2), the factor of distances in the kernels."""
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
    """Compute the weighted sum over instances of the loss of phi against the mask, equation 11.

    Args:
        embedding: unit vectors e, (B, D, h, w).
        mean: unit mean embedding of each instance, (L, D).
        sharpness: 1 / (2 sigma^2) of each instance, (L,).
        spatial_sharpness: the same for the spatial kernel, in position units, (L,).
        weight: weight of each instance in the sum, (L,); receives no gradient.
        instances: L instances.
        instance_map: ids, 0 for no instance, below 0 on pixels that do not count (void, crowd),
            (B, h, w).
        cell: side of a cell in position units.
        loss: 'lovasz', or 'ce' for binary cross-entropy averaged over the pixels of the image
            that count.
        min_error: values of phi up to this one count as 0 outside the mask.

    Returns:
        The sum, a scalar that is differentiable once with respect to the first four arguments; and
        phi of every instance pixel for its own instance, 0 elsewhere, without gradient,
        (B, h, w).
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
    """Autograd function that finds its gradients in the forward pass and keeps no maps."""

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
        num_counted = (instance_map >= 0).sum(dim=(1, 2)).tolist()
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
            target, counts = ids == instance.id, ids >= 0
            if loss == 'lovasz':
                error = torch.where(target, 1 - phi, phi) * counts
                slope = lovasz_slope(error, target, instance.count, min_error)
                value = slope @ error
                slope = torch.where(target, -slope, slope) * phi  # derivative by the exponent
            else:
                cost, slope = _cross_entropy(exponent, phi, target)
                share = counts.to(phi.dtype) / num_counted[instance.image]
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
    """Return the binary cross-entropy of each pixel and its derivative by the exponent of phi."""
    rest = (-torch.expm1(exponent)).clamp(min=MIN_BACKGROUND)  # 1 - phi
    return torch.where(target, -exponent, -rest.log()), torch.where(target, -1, phi / rest)


def _span(box: slice, center: float, radius: float, size: int) -> slice:
    """Return the cells of the box and within `radius` of the centre, as a range in 0 to size."""
    if not radius < size:  # also if NaN: the loss is then NaN, which the trainer handles
        return slice(0, size)
    return slice(
        max(min(math.floor(center - radius), box.start), 0),
        min(max(math.ceil(center + radius) + 1, box.stop), size),
    )
