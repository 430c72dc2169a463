# SPDX-License-Identifier: Apache-2.0
"""Report of the run: recovery times, counts, memory and findings."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from soak.robot import CAMERAS
from soak.watch import Watch, slope_per_minute


def report_lines(watch: Watch, recovery_s: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield the report.

    Args:
        watch: what the node reported.
        recovery_s: seconds until all cameras had results again, by fault.
    """
    yield f'{"fault":34}{"times":>6}{"median s":>10}{"worst s":>10}'
    for fault, times in sorted(recovery_s.items()):
        yield f'{fault:34}{len(times):6}{median(times):10.1f}{max(times):10.1f}'
    for camera in CAMERAS:
        counts = watch.totals(camera)
        yield f'{camera}: {", ".join(f"{name} {number}" for name, number in counts.items())}'
    if watch.memory_mb:
        sizes = [size for _, size in watch.memory_mb]
        yield (
            f'memory: {sizes[0]:.0f} MB at first, {max(sizes):.0f} at most, {sizes[-1]:.0f} at '
            f'the end; slope {slope_per_minute(watch.memory_mb):.2f} MB a minute'
        )
    yield from (f'FINDING {text}' for text in watch.findings)
    yield f'{len(watch.findings)} findings'
