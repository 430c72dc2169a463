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
def whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to, with the same suffix, in the same folder.

    At the end the data is flushed to the disk and the file gets its own name. After an error
    the file that had this name before is untouched. What killed writers of the same file left
    behind is removed first.

    Args:
        path: of the file to write; its folder exists.

    Raises:
        OSError: if the folder cannot be written to; names the file.
    """
    path = Path(path)
    _remove_abandoned(path)
    temporary = path.with_name(f'{TEMPORARY}{secrets.token_hex(4)}-{path.name}')
    try:
        # The lock tells other writers that this file is in use; a killed process loses it.
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        if error.filename is None:  # as a full disk has it
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def write_bytes(data: bytes, path: Path) -> None:
    """Writes a file under a temporary name and renames it."""
    with whole(path) as temporary:
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
                'choose another folder') from None
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


def _remove_abandoned(path: Path) -> None:
    """Removes temporary files of `path` whose writers are gone."""
    for file in path.parent.glob(f'{TEMPORARY}*'):
        if file.name[len(TEMPORARY):].partition('-')[2] != path.name:
            continue
        with suppress(OSError):  # in use, or removed by another writer
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink()
            finally:
                os.close(descriptor)
