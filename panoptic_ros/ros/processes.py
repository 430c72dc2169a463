# SPDX-License-Identifier: Apache-2.0
"""The demo's child processes, and the corner of ROS that it keeps to itself."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from panoptic_ros.core.resources import resource_file

MAX_DOMAIN_ID = 101
"""Ports of higher domains run into those that Linux gives to outgoing connections."""

MAX_PARTICIPANTS = 32
"""Of a domain on this machine; those that end leave gaps in the numbers."""

SHARED_MEMORY = Path('/dev/shm')


class Child:
    """A Python module that runs as a process of its own; leaving `with` ends it.

    It gets a session of its own, so that Ctrl-C reaches only us and the order of the end is ours.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], say: Callable[[str], None]
    ) -> None:
        """Starts it.

        The environment is ours: same interpreter, so what the ROS wheels put there fits.

        Args:
            name: for people.
            module: to run.
            arguments: of its command line.
            say: takes each line it writes, in a thread.
        """
        self.name = name
        self._say = say
        # `with` cannot end a child that is just being started when a signal ends us; `child` can.
        command = [sys.executable, '-u', '-m', 'panoptic_ros.ros.child', str(os.getpid()), module]
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding='utf-8',
            errors='replace',
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f'output of {name}', daemon=True)
        self._reader.start()
        self.killed = False

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(5.0)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self, timeout_s: float) -> None:
        """Asks it to end as Ctrl-C does, and kills it if it does not."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                self.killed = True
        self._reader.join(1.0)

    def check(self) -> None:
        """Makes sure that it runs, or has ended well.

        Raises:
            ChildProcessError: if not; `say` got its last words.
        """
        if self.exit_code not in (None, 0):
            self._reader.join(1.0)
            raise ChildProcessError(
                f'the {self.name} ended with exit code {self.exit_code}; what it said stands above'
            )

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._say(line.rstrip())


def ros_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What keeps the demo's processes apart from others and lets big images through.

    What the user has set stays.

    Returns:
        The variables to add: a domain id that nobody here uses, discovery on this machine only,
        and the shipped transport profile.
    """
    wanted = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    if 'ROS_DOMAIN_ID' not in environ:
        wanted['ROS_DOMAIN_ID'] = str(free_domain_id())
    if environ.get('ROS_DISTRO') == 'humble':  # which knows no range
        wanted['ROS_LOCALHOST_ONLY'] = '1'
    # Jazzy and before read the first, Kilted and later the second.
    profiles = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    if not any(name in environ for name in profiles):
        wanted |= dict.fromkeys(profiles, str(resource_file('config/fastdds.xml')))
    return {name: value for name, value in wanted.items() if name not in environ}


def free_domain_id() -> int:
    """A ROS domain id whose discovery ports nobody on this machine listens to."""
    candidates = random.sample(range(1, MAX_DOMAIN_ID + 1), MAX_DOMAIN_ID)
    return next(filter(_is_free, candidates), candidates[0])


def _is_free(domain_id: int) -> bool:
    # Ports of the DDSI-RTPS standard: multicast, which participants that are limited to this
    # machine do not open, and one for each participant.
    first = 7400 + 250 * domain_id
    for port in (first, *range(first + 10, first + 10 + 2 * MAX_PARTICIPANTS, 2)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', port))
            except OSError:
                return False
    return True


def shared_memory_files() -> set[Path]:
    """Files that Fast DDS has in shared memory, of anybody."""
    return {path for pattern in ('fast*', 'sem.fast*') for path in SHARED_MEMORY.glob(pattern)}


def remove_shared_memory(before: set[Path]) -> None:
    """Removes what a killed process left: files that are newer than `before` and unused."""
    used: set[str] = set()
    for maps in Path('/proc').glob('[0-9]*/maps'):
        with suppress(OSError):  # ended meanwhile, or somebody else's
            used |= {
                line.split(maxsplit=5)[-1].strip()
                for line in maps.read_text().splitlines()
                if str(SHARED_MEMORY) in line
            }
    for path in shared_memory_files() - before:
        # The lock of a file lies beside it and is never mapped itself.
        owner = path.with_name(
            path.name.removesuffix('_el').removesuffix('_mutex').removeprefix('sem.')
        )
        if not {str(path), str(owner)} & used and path.stat().st_uid == os.getuid():
            path.unlink(missing_ok=True)
