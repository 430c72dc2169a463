# SPDX-License-Identifier: Apache-2.0
"""Latencies of any number of images in little memory: counts in bins of equal ratio."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

RATIO = 1.01
"""Upper over lower edge of a bin, so that a percentile is exact to half a percent."""

LEAST_MS = 1e-3


def count_latencies(values_ms: Iterable[float]) -> dict[str, int]:
    """Return the number of values by bin, as JSON can hold it."""
    counts = Counter(math.floor(math.log(max(value, LEAST_MS), RATIO)) for value in values_ms)
    return {str(bin_index): count for bin_index, count in sorted(counts.items())}


def percentile(counts: Mapping[str, int], percent: float) -> float | None:
    """Return a percentile of the values, ms: the middle of its bin; None without values.

    >>> round(percentile(count_latencies([10.0] * 99 + [50.0]), 50), 1)
    10.0
    """
    total, seen = sum(counts.values()), 0
    for bin_index in sorted(map(int, counts)):
        seen += counts[str(bin_index)]
        if seen >= percent / 100 * total:
            return RATIO ** (bin_index + 0.5)
    return None
