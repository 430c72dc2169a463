# SPDX-License-Identifier: Apache-2.0
"""Transport profile in force, and the shared memory that it needs."""

import fcntl
import os
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from panoptic_ros.core.resources import resource_file
from panoptic_ros.core.text import one_line
from panoptic_ros.core.transport import PROFILE, profile_variables
from panoptic_ros.doctor.findings import Facts, Finding, note
from panoptic_ros.ros.processes import SHARED_MEMORY, shared_memory_files

DEFAULT_SEGMENT = 512 * 1024
"""Shared memory of a process without a profile, bytes."""

IMAGE = 1080 * 1920 * 3
"""Size of a colour image of a full HD camera, bytes."""

LEAST_PROCESSES = 2
"""Processes that need a segment at least: the camera and the node."""

MAX_PROFILE = 1_000_000
"""Largest profile that is read, bytes."""

YOUNG_S = 10.0
"""Age below which a file may not have been locked yet by the process that created it, s."""

LEAST_RECEIVE_BUFFER = 10_000_000
"""Receive buffer of the kernel that Cyclone DDS needs for images, bytes.

Source: "DDS tuning information" of the ROS 2 documentation.
"""


def transport_facts(
    ros: Facts, environ: Mapping[str, str] = os.environ, root: Path = Path('/')
) -> Facts:
    """Return the profile that processes of this shell use, and that of the launch file.

    Args:
        ros: see `panoptic_ros.doctor.ros.ros_facts`.
        environ: environment of the process.
        root: folder of the file system.
    """
    read = profile_variables(ros['distribution'] or '')
    variable = next((name for name in read if environ.get(name)), None)
    builtin = environ.get('FASTDDS_BUILTIN_TRANSPORTS') or None
    try:
        shipped: str | None = str(resource_file(PROFILE))
    except FileNotFoundError:
        shipped = None
    profile = read_profile(Path(environ[variable])) if variable else None
    try:
        buffer: int | None = int((root / 'proc/sys/net/core/rmem_max').read_text())
    except (OSError, ValueError):
        buffer = None
    return {
        'middleware': ros['middleware'] or ros['middleware_requested'],
        'variable': variable,
        'variables_read': list(read),
        'ignored_variables': [
            name for name in profile_variables('') if environ.get(name) and name not in read
        ],
        'file': environ[variable] if variable else None,
        'profile': profile,
        'builtin_transports': builtin,
        'segment': (profile or {}).get('segment') or (None if builtin else DEFAULT_SEGMENT),
        'shipped_profile': shipped,
        'shipped_segment': read_profile(Path(shipped))['segment'] if shipped else None,
        'receive_buffer': buffer,
    }


def read_profile(path: Path) -> Facts:
    """Return the transports of the default participant of a Fast DDS profile.

    Returns:
        `transports` (their kinds), `segment` (bytes of shared memory, None without it), and
        `error` (why Fast DDS cannot use the file, else empty).
    """
    facts: Facts = {'transports': [], 'segment': None, 'error': ''}
    try:
        if path.stat().st_size > MAX_PROFILE:
            raise ValueError(f'is larger than {MAX_PROFILE} bytes')
        tree = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        return facts | {'error': f'cannot be read ({error.strerror})'}
    except (ElementTree.ParseError, ValueError) as error:
        return facts | {'error': f'is not valid XML ({one_line(error)})'}
    transports: dict[str, tuple[str, int | None]] = {}
    participant = None
    for element in tree.iter():
        name = _local(element)
        if name == 'transport_descriptor':
            kind = _text(element, 'type').upper()
            size = _text(element, 'segment_size')
            segment = int(size) if size.isdigit() else DEFAULT_SEGMENT
            transports[_text(element, 'transport_id')] = kind, segment if kind == 'SHM' else None
        elif name == 'participant' and element.get('is_default_profile') == 'true':
            participant = element
    if participant is None:
        return facts | {'error': 'has no participant with is_default_profile="true"'}
    ids = [
        element.text or '' for element in participant.iter() if _local(element) == 'transport_id'
    ]
    used = [transports[name.strip()] for name in ids if name.strip() in transports]
    if _text(participant, 'useBuiltinTransports') != 'false':
        used += [('SHM', DEFAULT_SEGMENT), ('UDPv4', None)]
    return facts | {
        'transports': list(dict.fromkeys(kind for kind, _ in used)),
        'segment': max((size for _, size in used if size), default=None),
    }


def _local(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition('}')[2]


def _text(parent: ElementTree.Element, name: str) -> str:
    """Return the text of the first element of a name; empty without one."""
    found = next((element for element in parent.iter() if _local(element) == name), None)
    return (found.text or '').strip() if found is not None else ''


def transport_findings(facts: Facts) -> Iterator[Finding]:
    """Yield findings about a profile that is not in force or not usable."""
    middleware = facts['middleware'] or 'rmw_fastrtps_cpp'
    buffer = facts['receive_buffer']
    if 'cyclonedds' in middleware and buffer is not None and buffer < LEAST_RECEIVE_BUFFER:
        yield note(
            f'the kernel gives Cyclone DDS at most {buffer / 1e6:.1f} MB for received data, less '
            'than raw images need',
            'sudo sysctl -w net.core.rmem_max=2147483647',
        )
    if 'fastrtps' not in middleware:
        return
    first = facts['variables_read'][0]
    shipped = facts['shipped_profile'] or f'{PROFILE} of this package'
    if facts['profile'] and facts['profile']['error']:
        yield Finding(
            f'the Fast DDS profile {facts["file"]} is not in force: it '
            f'{facts["profile"]["error"]}',
            f'export {facts["variable"]}={shipped}',
        )
    elif facts['ignored_variables'] and not facts['variable']:
        yield Finding(
            f'{facts["ignored_variables"][0]} is set, but this ROS distribution reads {first}: '
            'the profile is not in force',
            f'export {first}={shipped}',
        )
    elif not facts['variable'] and not facts['builtin_transports']:
        yield note(
            'no Fast DDS profile is set in this shell: the launch file and the demo set one, but '
            'a camera driver started from here loses most raw images above 0.5 MB',
            f'export {first}={shipped} before the camera driver and `ros2 run`',
        )
    elif facts['segment'] is not None and facts['segment'] < IMAGE:
        yield note(
            f'the Fast DDS profile gives a process {facts["segment"] / 1e6:.1f} MB of shared '
            f'memory; a full HD image takes {IMAGE / 1e6:.1f} MB',
            f'raise segment_size, or use the shipped profile: export {first}={shipped}',
        )
    if facts['shipped_profile'] is None:
        yield Finding(
            f'{PROFILE} of this package is missing: the launch file cannot set it',
            'install the package again as docs/install.md says',
        )


def _sizes(folder: Path) -> tuple[int, int]:
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize


def memory_facts(
    transport: Facts,
    folder: Path = SHARED_MEMORY,
    sizes: Callable[[Path], tuple[int, int]] = _sizes,
) -> Facts:
    """Return size, free space and left-over files of shared memory.

    Args:
        transport: see `transport_facts`.
        folder: where shared memory is mounted.
        sizes: returns size and free space of a folder, bytes.
    """
    total: int | None = None
    free: int | None = None
    try:
        total, free = sizes(folder)
        error = ''
        if not os.access(folder, os.W_OK | os.X_OK):
            error = 'is not writable for this user'
    except OSError as failure:
        error = f'cannot be used ({failure.strerror})'
    left = left_over_files(shared_memory_files()) if folder == SHARED_MEMORY else []
    segments = [transport['segment'], transport['shipped_segment']]
    return {
        'folder': str(folder),
        'total': total,
        'free': free,
        'error': error,
        'segment': max((size for size in segments if size), default=DEFAULT_SEGMENT),
        'left_over_files': len(left),
        'left_over_bytes': sum(_space(path) for path in left),
    }


def left_over_files(files: set[Path]) -> list[Path]:
    """Return the segments of Fast DDS whose processes have ended.

    A process locks `<segment>_el` while it runs, which also works between containers.
    """
    left = []
    for path in sorted(files):
        lock = path.with_name(f'{path.name}_el')
        if re.fullmatch('fast(rtps|dds)_[0-9a-f]+', path.name) and lock in files:
            try:
                if time.time() - lock.stat().st_mtime < YOUNG_S:
                    continue
                with lock.open('rb') as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:  # locked, or of another user
                continue
            left.append(path)
    return left


def _space(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def memory_findings(facts: Facts, is_fast_dds: bool, container: str | None) -> Iterator[Finding]:
    """Yield findings about shared memory that is missing, too small, or left over.

    Args:
        facts: see `memory_facts`.
        is_fast_dds: whether the middleware is Fast DDS.
        container: kind of the container; None outside one.
    """
    grow = (
        'start the container with --shm-size=256m, or with --ipc=host to share that of the host'
        if container
        else f'sudo mount -o remount,size=256m {facts["folder"]}'
    )
    if not is_fast_dds:
        return
    if facts['error']:
        yield Finding(
            f'shared memory {facts["folder"]} {facts["error"]}: images go through the network '
            'stack and get lost',
            f'mount a tmpfs there that every user may write to (mode 1777); {grow}',
        )
        return
    needed = LEAST_PROCESSES * facts['segment']
    if facts['free'] < needed:
        remedy = grow
        if facts['left_over_bytes'] and facts['free'] + facts['left_over_bytes'] >= needed:
            remedy = 'stop all ROS processes, then rm /dev/shm/fast* /dev/shm/sem.fast*'
        yield Finding(
            f'{facts["free"] / 1e6:.0f} MB of {facts["total"] / 1e6:.0f} MB of shared memory '
            f'({facts["folder"]}) are free; the camera and the node need '
            f'{facts["segment"] / 1e6:.0f} MB each',
            remedy,
        )
    elif facts['left_over_files']:
        yield note(
            f'{facts["left_over_files"]} segments of ended ROS processes are left in '
            f'{facts["folder"]} ({facts["left_over_bytes"] / 1e6:.0f} MB)',
            'stop all ROS processes, then rm /dev/shm/fast* /dev/shm/sem.fast*',
        )
    if container:
        yield note(
            'in a container Fast DDS takes processes of other containers for local ones if they '
            'share the network (--net=host), and then sends images through a shared memory that '
            'they do not share: topics are listed, but nothing arrives',
            'start these containers with --ipc=host too; ignore this if nothing is lost',
        )
