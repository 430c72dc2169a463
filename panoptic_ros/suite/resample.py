# SPDX-License-Identifier: Apache-2.0
"""Paired bootstrap over recordings, and a correction for many comparisons."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SEED = 0
CHUNK = 4_000_000
"""Largest number of weights in memory."""


def draw_sums(
    counts: Mapping[str, Floats],
    draws: int,
    figures: Callable[[Mapping[str, Floats]], Mapping[str, Floats]],
) -> dict[str, Floats]:
    """Return figures of random draws of recordings, with replacement; both sides draw the same.

    Args:
        counts: sums of each recording, (R, 2, ...) for both sides.
        draws: D.
        figures: computes figures (N, 2) from summed counts (N, 2, ...).

    Returns:
        Each figure, (D, 2).
    """
    recordings = len(next(iter(counts.values())))
    random = np.random.default_rng(SEED)
    chances = np.full(recordings, 1 / recordings)
    found: dict[str, list[Floats]] = {}
    size = max(1, CHUNK // recordings)
    for start in range(0, draws, size):
        weights = random.multinomial(recordings, chances, min(size, draws - start)).astype(float)
        sums = {name: np.tensordot(weights, table, 1) for name, table in counts.items()}
        for name, values in figures(sums).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def p_value(draws: Floats) -> float:
    """Return the two-sided bootstrap p-value of a difference of zero.

    Args:
        draws: (D, 2) value of both sides in each draw.

    Returns:
        Twice the share of draws on the rarer side of zero, from 2 / (D + 1) to 1; 1 without
        draws.
    """
    difference = draws[:, 1] - draws[:, 0]
    difference = difference[~np.isnan(difference)]
    rarer = min((difference <= 0).sum(), (difference >= 0).sum())
    return float(min(1.0, 2 * (rarer + 1) / (len(difference) + 1)))


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
