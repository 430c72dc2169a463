# SPDX-License-Identifier: Apache-2.0
"""Points spread over a sphere: the start of HLE's class means (section 3.4, equation 17)."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BETA1, BETA2 = 0.9, 0.999
MIN_DISTANCE = 1e-3
"""Least cosine distance, which keeps the force between coinciding points finite."""


def thomson(num: int, dim: int, seed: int = 0, steps: int = 1000, lr: float = 0.1) -> Tensor:
    """Spread unit vectors apart: solve Thomson's problem with the cosine distance.

    Adam finds a local minimum of `sum_{i != j} 1 / d(mu_i, mu_j)`, d = 1 - cosine, from a random
    start, and each step projects the points onto the sphere.

    Args:
        num: number of points, at least 1.
        dim: dimension of the space, at least 1; one dimension has two unit vectors only.
        seed: seed of the random start; equal seeds yield equal points.
        steps: gradient steps, at least 1.
        lr: initial learning rate; it falls to 0 along a cosine.

    Returns:
        (num, dim) float32 unit rows.

    Raises:
        ValueError: if num, dim or steps is below 1.
    """
    if min(num, dim, steps) < 1:
        raise ValueError(
            f'thomson needs num, dim and steps of at least 1, got {num}, {dim} and {steps}'
        )
    return _solve(num, dim, seed, steps, lr).clone()


@lru_cache(maxsize=32)
def _solve(num: int, dim: int, seed: int, steps: int, lr: float) -> Tensor:
    if dim == 1:  # points cannot move: alternate the signs
        return 1 - 2 * (torch.arange(num) % 2)[:, None].float()
    # In NumPy, since importing torch.optim takes seconds and every HLE model needs this.
    points = _onto_sphere(np.random.default_rng(seed).standard_normal((num, dim)))
    first, second = np.zeros_like(points), np.zeros_like(points)  # Adam's moments
    for step in range(1, steps + 1):
        force = np.maximum(1 - points @ points.T, MIN_DISTANCE) ** -2
        np.fill_diagonal(force, 0)
        grad = force @ points
        # Without the radial part, which does not move a point but would shrink Adam's steps.
        grad -= (grad * points).sum(axis=1, keepdims=True) * points
        first += (1 - BETA1) * (grad - first)
        second += (1 - BETA2) * (grad**2 - second)
        rate = lr / 2 * (1 + np.cos(np.pi * (step - 1) / steps))
        points -= rate * (first / (1 - BETA1**step) / (np.sqrt(second / (1 - BETA2**step)) + 1e-8))
        points = _onto_sphere(points)
    return torch.from_numpy(points).float()


def _onto_sphere(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return points / np.linalg.norm(points, axis=1, keepdims=True)
