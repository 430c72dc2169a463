"""Points spread over a sphere, the start of HLE's class means (section 3.4, equation 17)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_DISTANCE = 1e-3
"""Floor of the cosine distance: two points at one place repel with a finite force."""


def thomson(num: int, dim: int, seed: int = 0, steps: int = 1000, lr: float = 0.1) -> Tensor:
    """Unit vectors that keep clear of one another.

    A local minimum of `sum_{i != j} 1 / d(mu_i, mu_j)`, d = 1 - cosine, found by Adam from a
    random start, with the points put back onto the sphere after each step.

    Args:
        num: number of points, at least 1.
        dim: dimension of the space, at least 1; in one dimension there are two places only.
        seed: of the random start; the same seed gives the same points.
        steps: gradient steps, at least 1.
        lr: Adam's at the start; it falls to 0 along a cosine.

    Returns:
        (num, dim) float32 unit rows.

    Raises:
        ValueError: if num, dim or steps is below 1.
    """
    if min(num, dim, steps) < 1:
        raise ValueError('thomson needs num, dim and steps of at least 1, '
                         f'got {num}, {dim} and {steps}')
    return _solve(num, dim, seed, steps, lr).clone()


@lru_cache(maxsize=32)
def _solve(num: int, dim: int, seed: int, steps: int, lr: float) -> Tensor:
    if dim == 1:  # no way to move: one sign and the other in turn
        return 1 - 2 * (torch.arange(num) % 2)[:, None].float()
    generator = torch.Generator().manual_seed(seed)
    points = F.normalize(torch.randn(num, dim, generator=generator, dtype=torch.float64), dim=1)
    optimizer = torch.optim.Adam([points], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        force = (1 - points @ points.T).clamp(min=MIN_DISTANCE).pow(-2).fill_diagonal_(0)
        grad = force @ points
        # Only the part along the sphere moves a point; Adam would scale its steps by the rest.
        points.grad = grad - (grad * points).sum(dim=1, keepdim=True) * points
        optimizer.step()
        schedule.step()
        points = F.normalize(points, dim=1, out=points)
    return points.float()
