# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, and folders that one process at a time works in."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TEMPORARY = '.unfinished-'
"""How the names of files that are still being written start."""

RUN = '.run-'
"""How the names of temporary folders start."""

LOCK_NAME = '.lock'
"""File in a folder that `lock_folder` locks. It stays behind; its lock does not."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to, with the same suffix, in the same folder.

    At the end the data is flushed to the disk and the file gets its own name. After an error
    the file that had this name before is untouched. What a killed writer of the same file left
    behind is used again.

    Args:
        path: of the file to write; its folder exists.

    Raises:
        OSError: if the folder cannot be written to; names the file.
    """
    path = Path(path)
    try:
        temporary, descriptor = _open_temporary(path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # while locked: later it may be another writer's
            raise
        _flush(path.parent)
    except OSError as error:
        if error.filename is None:  # as a full disk has it
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        os.close(descriptor)


def write_bytes(data: bytes, path: Path) -> None:
    """Writes a file under a temporary name and renames it."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_json(value: Any, path: Path, indent: int | None = 2) -> None:
    """Writes a JSON file the same way."""
    write_bytes((json.dumps(value, indent=indent) + '\n').encode(), path)


_held: set[int] = set()
"""Descriptors of the lock files that this process has open."""


def _drop_locks() -> None:
    """Leaves the locks to the parent; a worker that outlives it must not hold them."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_drop_locks)


class FolderInUseError(ValueError):
    """Another process works in a folder; the message names the folder and that process."""


@contextmanager
def lock_folder(folder: Path, work: str) -> Iterator[None]:
    """Keeps other processes from the same work in a folder.

    The lock ends with the process, however it ends.

    Args:
        folder: is created if it does not exist.
        work: what is done there, for the message to the other process: `training`, `replay`.

    Raises:
        FolderInUseError: if another process holds the lock.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors='replace').strip()
            raise FolderInUseError(
                f'{folder} is in use by another {holder or "process"}; wait for its end or '
                'choose another folder'
            ) from None
        except OSError:  # a file system without locks
            pass
        with suppress(OSError):  # a full disk; the lock holds without the name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f'{work} (process {os.getpid()})\n'.encode(), 0)
        yield
    finally:
        if descriptor in _held:  # not so in a forked process
            _held.remove(descriptor)
            os.close(descriptor)


def replace_results(source: Path, target: Path) -> None:
    """Move all files and folders of `source` to `target`, where they replace older ones.

    Args:
        source: complete results; empty afterwards.
        target: a folder on the same disk.
    """
    for path in sorted(source.iterdir()):
        if (target / path.name).is_dir():
            shutil.rmtree(target / path.name)
        path.replace(target / path.name)


@contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder inside one that this process has locked.

    Those that killed processes left behind are removed first.

    Args:
        folder: see `lock_folder`.
    """
    for abandoned in folder.glob(f'{RUN}*'):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=RUN, dir=folder) as name:
        yield Path(name)


def _flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_temporary(path: Path) -> tuple[Path, int]:
    """Opens an empty temporary file for `path`, and locks it.

    What a killed writer left has the same name and is used again. Only while another process
    writes the same file, which its lock tells, the name is another one.
    """
    temporary = path.with_name(f'{TEMPORARY}{path.name}')
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            temporary = path.with_name(f'{TEMPORARY}{secrets.token_hex(4)}-{path.name}')
            continue
        except OSError:  # a file system without locks
            pass
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), temporary.stat()):
                os.ftruncate(descriptor, 0)
                return temporary, descriptor
        os.close(descriptor)  # its writer has just given it its own name
