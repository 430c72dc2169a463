# SPDX-License-Identifier: Apache-2.0
"""Child processes of demo and replay, and their isolation from the rest of ROS."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from panoptic_ros.core.resources import resource_file
from panoptic_ros.core.signals import exit_at_sigterm
from panoptic_ros.core.transport import NEW_VARIABLE, OLD_VARIABLE, PROFILE

MAX_DOMAIN_ID = 101
"""Highest domain id whose ports do not overlap those of Linux's outgoing connections."""

MAX_PARTICIPANTS = 32
"""Most participants of a domain on this machine whose ports are checked."""

SHARED_MEMORY = Path('/dev/shm')


class Child:
    """Child process that runs a Python module and ends with the `with` block.

    It has a session of its own, so that Ctrl-C reaches only this process, which then ends its
    children in order.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], log: Callable[[str], None]
    ) -> None:
        """Start the process with this interpreter and this environment.

        Args:
            name: name for messages.
            module: module to run.
            arguments: command line of the module.
            log: called with each line of output, in a thread.
        """
        self.name = name
        self._log = log
        # `child` ends the module if this process is ended before `with` takes effect.
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

    def __enter__(self) -> 'Child':
        return self

    def __exit__(self, *error: object) -> None:
        self.stop(5.0)

    @property
    def exit_code(self) -> int | None:
        """Exit code; None while the process runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Send SIGINT if the process runs."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self, timeout_s: float) -> None:
        """Send SIGINT, and kill the process if it has not ended after the timeout."""
        if self.exit_code is None:
            self.interrupt()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                self.killed = True
        self._reader.join(1.0)

    def check(self) -> None:
        """Check that the process runs or has ended without an error.

        Raises:
            ChildProcessError: if it failed; `log` has received its output.
        """
        if self.exit_code not in (None, 0):
            self._reader.join(1.0)
            raise ChildProcessError(
                f'the {self.name} ended with exit code {self.exit_code}; see its output above'
            )

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._log(line.rstrip())


@contextmanager
def isolated_ros() -> Iterator[None]:
    """Isolate the child processes, end them at SIGTERM, too, and remove what they leave behind."""
    os.environ.update(ros_environment(os.environ))
    memory = shared_memory_files()
    try:
        with exit_at_sigterm():
            yield
    finally:
        remove_shared_memory(memory)


def ros_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the processes: isolated, with large images and steady memory.

    Args:
        environ: environment of the user, whose variables are kept.

    Returns:
        Variables to add: a domain id that is unused on this machine, discovery on this machine
        only, the shipped transport profile, and one arena of memory for all threads, see
        docs/robot.md.
    """
    wanted = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'MALLOC_ARENA_MAX': '1'}
    if 'ROS_DOMAIN_ID' not in environ:
        wanted['ROS_DOMAIN_ID'] = str(free_domain_id())
    if environ.get('ROS_DISTRO') == 'humble':  # has no discovery range
        wanted['ROS_LOCALHOST_ONLY'] = '1'
    if not any(name in environ for name in (OLD_VARIABLE, NEW_VARIABLE)):
        wanted |= dict.fromkeys((OLD_VARIABLE, NEW_VARIABLE), str(resource_file(PROFILE)))
    return {name: value for name, value in wanted.items() if name not in environ}


def free_domain_id() -> int:
    """Return a ROS domain id whose discovery ports are not in use on this machine."""
    candidates = random.sample(range(1, MAX_DOMAIN_ID + 1), MAX_DOMAIN_ID)
    return next(filter(_is_free, candidates), candidates[0])


def _is_free(domain_id: int) -> bool:
    # Ports of the DDSI-RTPS standard: that of multicast, which participants limited to this
    # machine do not open, and one per participant, with gaps where some have ended.
    first = 7400 + 250 * domain_id
    for port in (first, *range(first + 10, first + 10 + 2 * MAX_PARTICIPANTS, 2)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', port))
            except OSError:
                return False
    return True


def shared_memory_files() -> set[Path]:
    """Return the files of Fast DDS in shared memory, of all users."""
    return {path for pattern in ('fast*', 'sem.fast*') for path in SHARED_MEMORY.glob(pattern)}


def remove_shared_memory(before: set[Path]) -> None:
    """Remove the files of killed processes: those not in `before` that are unused."""
    used: set[str] = set()
    for maps in Path('/proc').glob('[0-9]*/maps'):
        with suppress(OSError):  # the process has ended, or belongs to another user
            used |= {
                line.split(maxsplit=5)[-1].strip()
                for line in maps.read_text().splitlines()
                if str(SHARED_MEMORY) in line
            }
    for path in shared_memory_files() - before:
        # The lock of a file is beside it and is never mapped itself.
        owner = path.with_name(
            path.name.removesuffix('_el').removesuffix('_mutex').removeprefix('sem.')
        )
        if not {str(path), str(owner)} & used and path.stat().st_uid == os.getuid():
            path.unlink(missing_ok=True)
