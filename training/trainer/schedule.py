# SPDX-License-Identifier: Apache-2.0
"""How the learning rate runs over a training."""

from __future__ import annotations

from collections.abc import Sequence


def poly(progress: float, power: float = 0.9) -> float:
    """Polynomial decay, (1 - progress) ** power, from 1 to 0.

    Args:
        progress: part of the training that is done, 0 to 1; held inside.
        power: 0.9 in DeepLab and its followers.
    """
    return (1 - min(max(progress, 0.0), 1.0)) ** power


def warmup(step: int, steps: int, start: float = 0.0) -> float:
    """Linear rise to 1 over the first `steps` steps.

    Args:
        step: 0 and up.
        steps: 0 for no warm-up.
        start: factor of step 0; at least 1 / (steps + 1), so that it learns.
    """
    first = max(start, 1 / (steps + 1))
    return min(first + (1 - first) * step / max(steps, 1), 1.0)


def tenths(step: int, milestones: Sequence[int]) -> float:
    """A tenth for each milestone that the step has reached."""
    return float(0.1 ** sum(step >= milestone for milestone in milestones))
