# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules: factors of the peak learning rate."""

from collections.abc import Sequence


def poly(progress: float, power: float = 0.9) -> float:
    """Return the polynomial decay (1 - progress) ** power, from 1 to 0.

    Args:
        progress: completed part of the training, clipped to 0 to 1.
        power: 0.9 in DeepLab and its followers.
    """
    return (1 - min(max(progress, 0.0), 1.0)) ** power


def multistep(step: int, milestones: Sequence[int]) -> float:
    """Return the multistep decay: a factor of 0.1 for each milestone that the step has reached."""
    return float(0.1 ** sum(step >= milestone for milestone in milestones))


def warmup(step: int, steps: int, start: float = 0.0) -> float:
    """Return the linear rise to 1 over the first `steps` steps.

    Args:
        step: from 0.
        steps: 0 for no warm-up.
        start: factor of step 0; at least 1 / (steps + 1), so that the first step has an effect.
    """
    first = max(start, 1 / (steps + 1))
    return min(first + (1 - first) * step / max(steps, 1), 1.0)
