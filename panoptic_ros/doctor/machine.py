# SPDX-License-Identifier: Apache-2.0
"""Operating system, container, Python, processors and memory, as this process may use them."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from panoptic_ros.core.version import __version__
from panoptic_ros.doctor.findings import Facts, Finding, note
from panoptic_ros.doctor.privacy import shown_variables

ROOT = Path('/')

OLDEST_PYTHON = (3, 10)

LEAST_MEMORY = 300_000_000
"""Memory that the node takes with the packaged model on the CPU, bytes (measured: 284 MB)."""


def system_facts(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Facts:
    """Return versions of this package, Python and the operating system, and the environment."""
    release = dict(
        line.split('=', 1) for line in _read(root / 'etc/os-release').splitlines() if '=' in line
    )
    return {
        'panoptic_ros': __version__,
        'folder': str(Path(__file__).resolve().parents[1]),
        'python': platform.python_version(),
        'interpreter': sys.executable,
        'virtual_environment': sys.prefix != sys.base_prefix,
        'system': release.get('PRETTY_NAME', platform.system()).strip('"'),
        'kernel': platform.release(),
        'architecture': platform.machine(),
        'container': container_kind(environ, root),
        'environment': shown_variables(environ),
    }


def container_kind(environ: Mapping[str, str], root: Path = ROOT) -> str | None:
    """Return the kind of container that this process runs in; None outside one."""
    if (root / '.dockerenv').exists():
        return 'docker'
    if (root / 'run/.containerenv').exists():
        return 'podman'
    kinds = ('docker', 'kubepods', 'lxc', 'containerd')
    groups = _read(root / 'proc/1/cgroup')
    found = next((kind for kind in kinds if kind in groups), None)
    return found or environ.get('container') or None


def system_findings(facts: Facts) -> Iterator[Finding]:
    """Yield a finding about Python."""
    if tuple(map(int, facts['python'].split('.')[:2])) < OLDEST_PYTHON:
        yield Finding(
            f'Python {facts["python"]} is older than 3.10', 'install Python 3.10 or newer'
        )


def cpu_facts(root: Path = ROOT) -> Facts:
    """Return the number of processors: of the machine, of this process, and its quota."""
    usable = len(os.sched_getaffinity(0))
    quota, _ = control_group_limits(root)
    name = next(
        (
            line.partition(':')[2].strip()
            for line in _read(root / 'proc/cpuinfo').splitlines()
            if line.lower().startswith('model name')
        ),
        None,
    )
    board = _read(root / 'proc/device-tree/model').strip('\0')
    load = _read(root / 'proc/loadavg').split()
    return {
        'name': name or board or None,
        'machine_cores': os.cpu_count(),
        'usable_cores': usable,
        'quota_cores': quota,
        'load_1_min': float(load[0]) if load else None,
    }


def cpu_findings(facts: Facts) -> Iterator[Finding]:
    """Yield findings about a quota and other work on the machine."""
    quota, usable = facts['quota_cores'], facts['usable_cores']
    if quota is not None and quota < usable:
        yield note(
            f'the container may use {quota:g} cores, but the {usable} that it sees get one '
            'thread of the model each, and the kernel then pauses all of them',
            f'limit the container to whole cores instead: docker run --cpuset-cpus=0-'
            f'{max(1, int(quota)) - 1} in place of --cpus',
        )
    if facts['load_1_min'] is not None and facts['load_1_min'] > 1.5 * facts['machine_cores']:
        yield note(
            f'the machine is busy: a load of {facts["load_1_min"]:g} on '
            f'{facts["machine_cores"]} cores',
            'compare the times of this page with those of a quiet machine; `top` shows what runs',
        )


def memory_facts(root: Path = ROOT) -> Facts:
    """Return the memory of the machine and the limit of this process's control group, bytes."""
    lines = _read(root / 'proc/meminfo').splitlines()
    sizes = {
        line.split(':')[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(' kB')
    }
    _, limit = control_group_limits(root)
    total = sizes.get('MemTotal')
    if limit is not None and total is not None and limit >= total:
        limit = None
    return {'total': total, 'available': sizes.get('MemAvailable'), 'limit': limit}


def memory_findings(facts: Facts) -> Iterator[Finding]:
    """Yield findings about too little memory."""
    for name, words in (('available', 'is free'), ('limit', 'is the limit of this container')):
        size = facts[name]
        if size is not None and size < LEAST_MEMORY:
            yield Finding(
                f'only {size / 1e6:.0f} MB of memory {words}; the node with the packaged model '
                f'takes about {LEAST_MEMORY / 1e6:.0f} MB',
                'end other programs, or raise the limit (docker run --memory=2g)',
            )


def control_group_limits(root: Path = ROOT) -> tuple[float | None, int | None]:
    """Return the processor quota, cores, and the memory limit, bytes, of control groups 1 or 2.

    The smallest value of this process's group and the groups above it counts. None stands for no
    limit.
    """
    quotas: list[float] = []
    limits: list[int] = []
    top = root / 'sys/fs/cgroup'
    for line in _read(root / 'proc/self/cgroup').splitlines():
        with suppress(ValueError):
            number, controllers, path = line.split(':', 2)
            names = controllers.split(',')
            if number == '0':
                for folder in _with_parents(top, path):
                    quota, _, period = _read(folder / 'cpu.max').partition(' ')
                    quotas += _ratio(quota, period)
                    limits += _whole(_read(folder / 'memory.max'))
            elif 'cpu' in names:
                for folder in _with_parents(top / controllers, path):
                    quotas += _ratio(
                        _read(folder / 'cpu.cfs_quota_us'), _read(folder / 'cpu.cfs_period_us')
                    )
            elif 'memory' in names:
                for folder in _with_parents(top / 'memory', path):
                    limits += _whole(_read(folder / 'memory.limit_in_bytes'))
    return min(quotas, default=None), min(limits, default=None)


def _with_parents(top: Path, path: str) -> Iterator[Path]:
    """Yield a control group's folder and those above it; a container sees only some of them."""
    parts = [part for part in path.split('/') if part not in ('', '.', '..')]
    for count in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:count])


def _ratio(quota: str, period: str) -> list[float]:
    values = [*_whole(quota), *_whole(period)]
    return [values[0] / values[1]] if len(values) == 2 and values[1] else []


def _whole(text: str) -> list[int]:
    """Return the positive whole number in a text; empty for `max` and -1, which are no limit."""
    return [int(text)] if text.strip().isdigit() else []


def _read(path: Path) -> str:
    """Return a file's text; empty if it cannot be read."""
    try:
        return path.read_text(errors='replace')
    except OSError:
        return ''
