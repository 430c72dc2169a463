# SPDX-License-Identifier: Apache-2.0
"""Rates and durations of the last images; one thread writes, any thread may read."""

from collections import deque
from collections.abc import Iterable

import numpy as np

NOT_YET = 'n/a'

WINDOW = 100
"""Number of images over which p50, p95 and max are taken."""

RATE_WINDOW_S = 5.0

SILENT_S, SILENT_INTERVALS = 5.0, 5.0
"""A stream is silent after SILENT_S seconds and SILENT_INTERVALS times its last interval."""


class RateMeter:
    """Events per second over the last seconds of any clock, even one that jumps back."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=2000)

    def add(self, now_s: float) -> None:
        """Count an event."""
        if self._times and now_s < self._times[-1]:
            self._times.clear()
        self._times.append(now_s)

    @property
    def last_s(self) -> float:
        """Time of the last event; 0 before the first."""
        times = self._times.copy()  # another thread may clear them
        return times[-1] if times else 0.0

    def rate_hz(self, now_s: float) -> float | None:
        """Return the rate over the last RATE_WINDOW_S; 0 if silent, None before two events."""
        times = [t for t in self._times.copy() if now_s - RATE_WINDOW_S <= t <= now_s]
        if len(times) >= 2 and times[-1] > times[0]:
            return (len(times) - 1) / (times[-1] - times[0])
        return 0.0 if len(self._times) >= 2 else None


class Silence:
    """Detector of a stream that has stopped or did not begin; its times never go back."""

    def __init__(self, now_s: float) -> None:
        self._interval_s = 0.0
        self.begin(now_s)

    def begin(self, now_s: float) -> None:
        """Note the time from which the stream is expected."""
        self._last_s, self._heard = now_s, False

    def heard(self, now_s: float) -> None:
        """Note an event; the time since the last one is the interval."""
        if self._heard:
            self._interval_s = now_s - self._last_s
        self._last_s, self._heard = now_s, True

    def is_silent(self, now_s: float) -> bool:
        """Return whether an event is overdue."""
        return now_s - self._last_s > max(SILENT_S, SILENT_INTERVALS * self._interval_s)


class Timings:
    """Durations of the last images by stage."""

    def __init__(self, stages: Iterable[str]) -> None:
        self._seconds: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in stages}

    def add(self, stage: str, seconds: float) -> None:
        """Add the duration of a stage for one image."""
        self._seconds[stage].append(seconds)

    def p95_ms(self, stage: str) -> float | None:
        """Return the 95th percentile; None before the first image."""
        seconds = self._seconds[stage].copy()
        return float(np.percentile(seconds, 95)) * 1e3 if seconds else None

    def values(self) -> dict[str, str]:
        """Return p50, p95 and max of each stage as text."""
        values = {}
        for stage, window in self._seconds.items():
            ms = np.array(window.copy()) * 1e3
            for name, number in (('p50', 50), ('p95', 95), ('max', 100)):
                value = float(np.percentile(ms, number)) if ms.size else None
                values[f'{stage} {name} ms'] = show(value, 2)
        return values


def show(value: float | None, digits: int) -> str:
    """Return a number as text, `n/a` for None."""
    return NOT_YET if value is None else f'{value:.{digits}f}'
