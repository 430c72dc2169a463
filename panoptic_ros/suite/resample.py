# SPDX-License-Identifier: Apache-2.0
"""Paired bootstrap and randomisation test over recordings, corrected for many comparisons."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = Mapping[str, Floats]
"""Sums of each recording, (R, 2, ...) for both sides, or of draws."""

Figures = Callable[[Counts], Mapping[str, Floats]]
"""Computes figures (N, 2) from summed counts (N, 2, ...)."""

SEED = 0
CHUNK = 4_000_000
"""Largest number of weights in memory."""

TOLERANCE = 1e-9
"""Differences that are this close are equal apart from rounding, percent."""


def bootstrap(counts: Counts, draws: int, figures: Figures) -> dict[str, Floats]:
    """Return figures of random draws of recordings, with replacement; both sides draw the same.

    Returns:
        Each figure, (draws, 2).
    """

    def weigh(random: np.random.Generator, size: int, recordings: int) -> Floats:
        chances = np.full(recordings, 1 / recordings)
        return random.multinomial(recordings, chances, size).astype(float)

    return _draw(counts, draws, figures, weigh)


def swap_sides(counts: Counts, draws: int, figures: Figures) -> dict[str, Floats]:
    """Return figures after the sides of each recording were swapped or not, at random.

    If the sides do not differ, a difference is as likely after a swap as before.

    Returns:
        Each figure, (draws, 2).
    """
    both = {name: np.concatenate([table, table[:, ::-1]]) for name, table in counts.items()}

    def weigh(random: np.random.Generator, size: int, recordings: int) -> Floats:
        swapped = random.integers(0, 2, (size, recordings // 2)).astype(float)
        return np.concatenate([1 - swapped, swapped], axis=1)

    return _draw(both, draws, figures, weigh)


def _draw(
    counts: Counts,
    draws: int,
    figures: Figures,
    weigh: Callable[[np.random.Generator, int, int], Floats],
) -> dict[str, Floats]:
    """Return figures of weighted sums over recordings."""
    recordings = len(next(iter(counts.values())))
    random = np.random.default_rng(SEED)
    found: dict[str, list[Floats]] = {}
    size = max(1, CHUNK // recordings)
    for start in range(0, draws, size):
        weights = weigh(random, min(size, draws - start), recordings)
        sums = {name: np.tensordot(weights, table, 1) for name, table in counts.items()}
        for name, values in figures(sums).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def p_value(difference: float, swapped: Floats) -> float:
    """Return how likely a difference is that is at least as large, if the sides do not differ.

    Args:
        difference: second minus first side.
        swapped: (D, 2) of `swap_sides`. A draw without a value counts as a larger difference.

    Returns:
        From 1 / (D + 1) to 1.
    """
    smaller = np.abs(swapped[:, 1] - swapped[:, 0]) < abs(difference) - TOLERANCE
    return float((1 + (~smaller).sum()) / (len(swapped) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 1979).

    The chance that any of the figures with an adjusted value below 0.05 has not changed is below
    0.05, however the figures depend on each other.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind='stable')
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors)
    result = np.empty(len(p_values))
    result[order] = np.minimum(adjusted, 1)
    return [float(p) for p in result]
