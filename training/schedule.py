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


def warmup(step: int, steps: int) -> float:
    """Linear rise to 1 over the first `steps` steps, from 1 / (steps + 1) at step 0."""
    return min((step + 1) / (steps + 1), 1.0)


def tenths(step: int, milestones: Sequence[int]) -> float:
    """A tenth for each milestone that the step has reached."""
    return float(0.1 ** sum(step >= milestone for milestone in milestones))
