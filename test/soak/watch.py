# SPDX-License-Identifier: Apache-2.0
"""What the node reports during the run: counts, which must add up, and its memory."""

import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SETTLED = 0.3
"""Share of the run after which the memory's slope is taken."""


def counts_of(values: Mapping[str, str]) -> dict[str, int]:
    """Return the counts of a camera from its status `input/<camera>`."""
    names = ('received', 'published', 'dropped ', 'in flight')
    return {name: int(value) for name, value in values.items() if name.startswith(names)}


def broken_sum(counts: Mapping[str, int]) -> str:
    """Return what is wrong with the counts of a camera; empty if they add up."""
    total = sum(counts.values()) - counts['received']
    if counts['received'] == total and min(counts.values()) >= 0:
        return ''
    return f'received is {counts["received"]}, the sum of the others is {total}: {dict(counts)}'


def slope_per_minute(samples: list[tuple[float, float]]) -> float:
    """Return the slope of a line through values over time.

    Args:
        samples: (time in seconds, value); the first `SETTLED` of the time is left out.
    """
    times, values = np.array(samples).T
    late = times >= times[0] + SETTLED * (times[-1] - times[0])
    if late.sum() < 2:
        return 0.0
    return float(np.polyfit(times[late] / 60, values[late], 1)[0])


class Watch:
    """Reader of /diagnostics during the run."""

    def __init__(self, pid: int) -> None:
        """Begin to watch the process of the node."""
        self.findings: list[str] = []
        self.memory_mb: list[tuple[float, float]] = []
        """(time in seconds, resident memory in MB)."""
        self._statm = Path(f'/proc/{pid}/statm')
        self._last: dict[str, dict[str, int]] = {}  # counts by camera
        self._ended: dict[str, Counter[str]] = {}  # those of earlier configurations

    def take(self, message: Any) -> None:
        """Check a DiagnosticArray."""
        for status in message.status:
            task = status.name.partition(': ')[2]
            if task.startswith('input/'):
                camera = task.removeprefix('input/')
                self.count(camera, counts_of({pair.key: pair.value for pair in status.values}))
        try:
            pages = int(self._statm.read_text().split()[1])
        except OSError:  # the process has ended
            return
        self.memory_mb.append((time.monotonic(), pages * os.sysconf('SC_PAGESIZE') / 1e6))

    def count(self, camera: str, counts: dict[str, int]) -> None:
        """Check the counts of a camera; they begin anew when the node is configured."""
        if problem := broken_sum(counts):
            self.findings.append(f'{camera}: {problem}')
        last = self._last.get(camera, counts)
        if counts['received'] < last['received']:
            self._ended.setdefault(camera, Counter()).update(last)
        self._last[camera] = counts

    def totals(self, camera: str) -> Counter[str]:
        """Return the counts of a camera over the whole run."""
        return self._ended.get(camera, Counter()) + Counter(self._last.get(camera, {}))

    def last(self, camera: str, name: str) -> int:
        """Return one of the newest counts of a camera."""
        return self._last.get(camera, {}).get(name, 0)
