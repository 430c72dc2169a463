# SPDX-License-Identifier: Apache-2.0
"""ROS processes that run on this machine, and how their settings differ."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from panoptic_ros.core.transport import NEW_VARIABLE, OLD_VARIABLE
from panoptic_ros.doctor.findings import Facts, Finding, note
from panoptic_ros.doctor.ros import MIDDLEWARE

MAX_PROCESSES = 200

OWN_COMMANDS = ('panoptic', 'panoptic_ros.cli.main')
"""Names of processes of this package's command line."""

_MIDDLEWARE = re.compile(rf'/lib({"|".join(MIDDLEWARE)})\.so')
_FAST_DDS = re.compile(r'/lib(?:fastrtps|fastdds)\.so\.([\d.]+)')


def running_facts(proc: Path = Path('/proc')) -> Facts:
    """Return the processes of this user (of all users for root) that have loaded a middleware.

    Args:
        proc: folder of the kernel's files about processes.
    """
    folders = sorted(proc.glob('[0-9]*'), key=lambda path: int(path.name))
    others = (_process(folder) for folder in folders if folder.name != str(os.getpid()))
    return {'processes': [process for process in others if process][:MAX_PROCESSES]}


def _process(folder: Path) -> Facts | None:
    """Return the settings of a process; None if it has no middleware or cannot be read."""
    try:
        maps = (folder / 'maps').read_text(errors='replace')
        middleware = _MIDDLEWARE.search(maps)
        if not middleware:
            return None
        words = _split(folder / 'cmdline')
        environ = dict(text.split('=', 1) for text in _split(folder / 'environ') if '=' in text)
    except (OSError, ValueError):  # it has ended, or belongs to another user
        return None
    fast_dds = _FAST_DDS.search(maps)
    return {
        'pid': int(folder.name),
        'name': process_name(words),
        'middleware': middleware[1],
        'fast_dds': fast_dds[1] if fast_dds else None,
        'domain_id': environ.get('ROS_DOMAIN_ID') or '0',
        # The demo sets its own profile after its start, which the kernel's file does not show.
        'has_profile': process_name(words) in OWN_COMMANDS
        or any(
            environ.get(name)
            for name in (OLD_VARIABLE, NEW_VARIABLE, 'FASTDDS_BUILTIN_TRANSPORTS')
        ),
    }


def _split(path: Path) -> list[str]:
    return path.read_bytes().decode(errors='replace').split('\0')


def process_name(words: list[str]) -> str:
    """Return a short name of a process: its node's name, or that of its program or module."""
    named = [word.removeprefix('__node:=') for word in words if word.startswith('__node:=')]
    program = Path(words[0]).name if words else ''
    if re.match('python', program):
        rest = words[1:]
        if '-m' in rest[:-1]:
            program = rest[rest.index('-m') + 1]
        else:
            scripts = [Path(word).name for word in rest if word and not word.startswith('-')]
            program = next(iter(scripts), program)
    return named[0] if named else program


def running_findings(facts: Facts, ros: Facts) -> Iterator[Finding]:
    """Yield findings about processes of one domain that do not fit together.

    Args:
        facts: see `running_facts`.
        ros: see `ros_facts`; settings of this shell.
    """
    domains: dict[str, list[Facts]] = defaultdict(list)
    for process in facts['processes']:
        domains[process['domain_id']].append(process)
    for domain, processes in domains.items():
        by_middleware = _names_by(processes, 'middleware')
        if domain == ros['domain_id'] and ros['middleware']:
            by_middleware[ros['middleware']].append('this shell')
        if len(by_middleware) > 1:
            yield Finding(
                f'processes of domain {domain} use different middleware: {_list(by_middleware)}',
                'set RMW_IMPLEMENTATION to the same name for all of them, and restart them',
            )
        fast = [process for process in processes if process['fast_dds']]
        by_version = _names_by(fast, 'fast_dds')
        if len({_minor(version) for version in by_version}) > 1:
            yield Finding(
                f'processes of domain {domain} use different versions of Fast DDS: '
                f'{_list(by_version)}',
                'start all processes of the robot from one ROS installation',
            )
        without = [process for process in fast if not process['has_profile']]
        if without and len(without) < len(fast):
            yield note(
                f'processes of domain {domain} run without the Fast DDS profile that others '
                f'have: {", ".join(_short([process["name"] for process in without]))}',
                'a camera driver needs it too: docs/robot.md, "Large images between processes"',
            )
    if domains and ros['middleware'] and ros['domain_id'] not in domains:
        yield note(
            f'ROS processes run in domain {", ".join(sorted(domains))}, but this shell uses '
            f'domain {ros["domain_id"]} and does not see them',
            f'export ROS_DOMAIN_ID={sorted(domains)[0]} to work with them',
        )


def _names_by(processes: list[Facts], key: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for process in processes:
        names[process[key]].append(process['name'])
    return names


def _minor(version: str) -> str:
    return '.'.join(version.split('.')[:2])


def _list(groups: dict[str, list[str]]) -> str:
    return '; '.join(f'{key} ({", ".join(_short(names))})' for key, names in groups.items())


def _short(names: list[str]) -> list[str]:
    unique = list(dict.fromkeys(names))
    return [*unique[:5], *(['...'] if len(unique) > 5 else [])]
