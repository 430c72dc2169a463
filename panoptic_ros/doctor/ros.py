# SPDX-License-Identifier: Apache-2.0
"""ROS distribution, middleware, domain, and where the node's program is."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from panoptic_ros.doctor.findings import Facts, Finding, note
from panoptic_ros.doctor.probes import Ended
from panoptic_ros.ros.processes import MAX_DOMAIN_ID

OPT_ROS = Path('/opt/ros')

HIGHEST_DOMAIN_ID = 232
"""Highest domain id that the ports of DDS allow."""

MIDDLEWARE = (
    'rmw_fastrtps_cpp',
    'rmw_fastrtps_dynamic_cpp',
    'rmw_cyclonedds_cpp',
    'rmw_connextdds',
    'rmw_zenoh_cpp',
    'rmw_gurumdds_cpp',
)
"""Implementations whose libraries are looked for."""


def ros_facts(
    probe: Ended, environ: Mapping[str, str] = os.environ, opt_ros: Path = OPT_ROS
) -> Facts:
    """Return what this shell and this interpreter know of ROS.

    Args:
        probe: output of `panoptic_ros.ros.probe`.
        environ: environment of the process.
        opt_ros: folder of the distributions that apt installs.
    """
    wheel = _wheel_distribution()
    report: Facts = next(iter(probe.documents), {})
    folders = library_folders(environ)
    return {
        'distribution': environ.get('ROS_DISTRO') or wheel,
        'sourced': environ.get('ROS_DISTRO'),
        'wheels': wheel,
        'installed': sorted(path.name for path in opt_ros.glob('*') if path.is_dir()),
        'rclpy': report.get('rclpy'),
        'error': '' if report else _reason(probe),
        'middleware': report.get('middleware'),
        'middleware_requested': environ.get('RMW_IMPLEMENTATION') or None,
        'middleware_installed': [
            name
            for name in MIDDLEWARE
            if any((folder / f'lib{name}.so').exists() for folder in folders)
        ],
        'domain_id': environ.get('ROS_DOMAIN_ID') or '0',
        'discovery_range': environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE') or None,
        'missing_messages': report.get('missing_messages', []),
        'broken_messages': report.get('broken_messages', ''),
        'vision_msgs': report.get('vision_msgs'),
        'fast_dds': fast_dds_versions(
            [*folders, *(Path(path).parent for path in report.get('libraries', []))]
        ),
        'node_program': _node_program(environ),
    }


def _wheel_distribution() -> str | None:
    """Return the distribution of the wheels from PyPI; None if rclpy comes from elsewhere."""
    names = (name for entry in metadata.distributions() if (name := entry.metadata['Name']))
    matches = (re.fullmatch('ros-([a-z]+)-rclpy', name) for name in names)
    return next((match[1] for match in matches if match), None)


def _reason(probe: Ended) -> str:
    """Return why rclpy gave no answer."""
    return re.sub(r'\[ERROR\] \[[\d.]+\] ', '', probe.reason)  # without the time of the log


def library_folders(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders that may hold libraries of ROS, those found first in front."""
    prefixes = environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    folders = [
        *environ.get('LD_LIBRARY_PATH', '').split(os.pathsep),
        *(str(Path(prefix) / 'lib') for prefix in prefixes if prefix),
        str(Path(sys.prefix) / 'lib'),
        '/usr/local/lib',
    ]
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]


def fast_dds_versions(folders: list[Path]) -> dict[str, str]:
    """Return the version of Fast DDS by the folder that holds it."""
    versions: dict[str, str] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        names = (path.name for path in folder.glob('libfast*.so.*'))
        matches = (re.fullmatch(r'lib(?:fastrtps|fastdds)\.so\.([\d.]+)', name) for name in names)
        found = [match[1] for match in matches if match]
        if found:  # the longest name is that of the file, the others are links to it
            versions[str(folder)] = max(found, key=len)
    return versions


def _node_program(environ: Mapping[str, str]) -> Facts | None:
    """Return the program that `ros2 run` starts and the interpreter in its first line."""
    for prefix in environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        path = Path(prefix) / 'lib' / 'panoptic_ros' / 'panoptic_node'
        try:
            with path.open('rb') as file:
                first = file.readline(300).decode(errors='replace').strip()
        except OSError:
            continue
        return {'file': str(path), 'interpreter': first.removeprefix('#!').strip()}
    return None


def ros_findings(facts: Facts) -> Iterator[Finding]:
    """Yield findings about the distribution, the middleware and the domain."""
    distribution = facts['distribution'] or '<distribution>'
    wanted = facts['middleware_requested']
    if facts['sourced'] and facts['wheels'] and facts['sourced'] != facts['wheels']:
        yield Finding(
            f'ROS {facts["sourced"]} is sourced, but this interpreter has the wheels of '
            f'{facts["wheels"]}; nodes of different distributions do not understand each other',
            f'use a virtual environment without ros-{facts["wheels"]}-rclpy, or a shell that '
            f'does not source /opt/ros/{facts["sourced"]}',
        )
    if facts['error'] and wanted and wanted not in facts['middleware_installed']:
        package = wanted.replace('_', '-')
        yield Finding(
            f'RMW_IMPLEMENTATION is {wanted}, which is not installed',
            f'sudo apt install ros-{distribution}-{package}, or unset RMW_IMPLEMENTATION '
            f'(installed: {", ".join(facts["middleware_installed"]) or "none"})',
        )
    elif facts['error'] and facts['sourced']:
        yield Finding(
            f'ROS {facts["sourced"]} is sourced, but rclpy cannot be used: {facts["error"]}',
            f'use the Python of this ROS distribution (this one is {sys.version.split()[0]}), in '
            'a virtual environment made with --system-site-packages; see docs/install.md',
        )
    elif facts['error'] and facts['wheels']:
        yield Finding(
            f'rclpy is installed, but cannot be used: {facts["error"]}',
            'pip install --force-reinstall "panoptic_ros[ros]"',
        )
    elif facts['error'] and facts['installed']:
        yield note(
            f'ROS {", ".join(facts["installed"])} is installed, but not sourced in this shell',
            f'source {OPT_ROS}/{facts["installed"][-1]}/setup.bash',
        )
    elif facts['error']:
        yield note(
            'ROS 2 is not installed for this interpreter; the node, the demo and the live replay '
            'need it',
            'source the setup.bash of a ROS installation, or pip install "panoptic_ros[ros]"',
        )
    if facts['missing_messages'] or facts['broken_messages']:
        missing = ', '.join(facts['missing_messages'])
        yield Finding(
            f'messages that the node needs cannot be used: {missing or facts["broken_messages"]}',
            'rosdep install --from-paths src --ignore-src -y, or pip install "panoptic_ros[ros]"',
        )
    yield from _domain_findings(facts)
    versions = sorted(set(facts['fast_dds'].values()))
    if len(versions) > 1:
        yield note(
            f'several versions of Fast DDS are on the library path: {", ".join(versions)}',
            'start all processes of the robot from one installation; the folders are above',
        )
    program = facts['node_program']
    # Not resolved: the links of all virtual environments lead to the same file.
    if program and Path(program['interpreter']).parent != Path(sys.executable).parent:
        yield note(
            f'ros2 run starts the node with {program["interpreter"]}, but this page is about '
            f'{sys.executable}',
            'run `ros2 run panoptic_ros panoptic doctor`, or build with the other interpreter: '
            '.venv/bin/python -m colcon build --packages-select panoptic_ros',
        )


def _domain_findings(facts: Facts) -> Iterator[Finding]:
    text = facts['domain_id']
    if not re.fullmatch(r'\d+', text) or int(text) > HIGHEST_DOMAIN_ID:
        yield Finding(
            f'ROS_DOMAIN_ID must be a whole number from 0 to {HIGHEST_DOMAIN_ID}, got {text!r}',
            'export ROS_DOMAIN_ID=0, or the domain of the robot',
        )
    elif int(text) > MAX_DOMAIN_ID:
        yield note(
            f'ROS_DOMAIN_ID is {text}; above {MAX_DOMAIN_ID} its ports overlap those that Linux '
            'gives to other connections, and a process may fail to start',
            f'choose a domain from 0 to {MAX_DOMAIN_ID}',
        )
    if facts['discovery_range'] in ('OFF', 'LOCALHOST'):
        seen = 'no other process' if facts['discovery_range'] == 'OFF' else 'only this machine'
        yield note(
            f'ROS_AUTOMATIC_DISCOVERY_RANGE is {facts["discovery_range"]}: processes of this '
            f'shell find {seen}',
            'unset it if the camera is elsewhere',
        )
