"""Points spread over a sphere, the start of HLE's class means (section 3.4, equation 17)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_DISTANCE = 1e-6
"""Floor of the cosine distance: two points at one place repel with a finite force."""


def thomson(num: int, dim: int, seed: int = 0, steps: int = 1000, lr: float = 0.1) -> Tensor:
    """Unit vectors that keep clear of one another.

    A local minimum of `sum_{i != j} 1 / d(mu_i, mu_j)`, d = 1 - cosine, found by Adam from a
    random start, with the points put back onto the sphere after each step.

    Args:
        num: number of points, at least 1.
        dim: dimension of the space, at least 1; in one dimension there are two places only.
        seed: of the random start; the same seed gives the same points.
        steps: gradient steps.
        lr: of Adam, falling to 0 along a cosine.

    Returns:
        (num, dim) float32 unit rows.

    Raises:
        ValueError: if num or dim is below 1.
    """
    if num < 1 or dim < 1:
        raise ValueError(f'thomson needs num and dim of at least 1, got {num} and {dim}')
    generator = torch.Generator().manual_seed(seed)
    points = F.normalize(torch.randn(num, dim, generator=generator, dtype=torch.float64), dim=1)
    if dim == 1:  # no way to move: opposite signs in turn
        points = torch.ones(num, 1)
        points[1::2] = -1
        return points
    with torch.enable_grad():
        points.requires_grad_()
        optimizer = torch.optim.Adam([points], lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        for _ in range(steps):
            optimizer.zero_grad()
            energy(points).backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                points.copy_(F.normalize(points, dim=1))
    return points.detach().float()


def energy(points: Tensor) -> Tensor:
    """`sum_{i != j} 1 / (1 - cos(mu_i, mu_j))` over unit rows (num, dim); 0 for one point."""
    first, second = torch.triu_indices(len(points), len(points), 1)
    distance = 1 - (points[first] * points[second]).sum(dim=1)
    return 2 * (1 / distance.clamp(min=MIN_DISTANCE)).sum()
