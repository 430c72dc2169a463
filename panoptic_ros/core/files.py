# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes, locks on folders, and the cache folder."""

import fcntl
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TEMPORARY = '.unfinished-'
"""Prefix of the names of files that are being written."""

RUN = '.run-'
"""Prefix of the names of temporary folders."""

LOCK_NAME = '.lock'
"""File that `lock_folder` locks. The file remains in the folder, the lock does not."""


def cache_folder(name: str) -> Path:
    """Return a folder of this package in the user's cache directory; it may not exist yet."""
    home = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
    return home / 'panoptic_ros' / name


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name, and rename it at the end.

    The temporary file has the same suffix and lies in the same folder. On success its data is
    flushed to the disk before the file is renamed. After an error an earlier file of this name
    is unchanged. The temporary file of a killed writer is used again.

    Args:
        path: of the file to write; its folder exists.

    Yields:
        The temporary name to write to.

    Raises:
        OSError: if the file cannot be written; the message names it.
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
            temporary.unlink(missing_ok=True)  # before the lock is released to another writer
            raise
        _flush(path.parent)
    except OSError as error:
        if error.filename is None:  # for example on a full disk
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        os.close(descriptor)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file atomically; see `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_json(value: Any, path: Path, indent: int | None = 2) -> None:
    """Write a JSON file atomically; see `atomic_write`.

    JSON has no NaN and no infinity: `null` stands for them.
    """
    try:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=indent, allow_nan=False)
    write_bytes(f'{text}\n'.encode(), path)


def _finite(value: Any) -> Any:
    """Return a value of lists and dictionaries with None in place of NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


_held: set[int] = set()
"""Descriptors of the lock files that this process holds open."""


def _drop_locks() -> None:
    """Close the locks in a forked process, which must not hold them longer than its parent."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_drop_locks)


class FolderInUseError(ValueError):
    """A folder that another process uses; the message names the folder and that process."""


@contextmanager
def lock_folder(folder: Path, work: str) -> Iterator[None]:
    """Lock a folder against other processes.

    The operating system releases the lock when the process ends, even if it is killed. After an
    error the folder is removed again if it was created here and holds nothing else.

    Args:
        folder: created if it does not exist.
        work: name of the work in the folder (`training`, `replay`), for the message that another
            process shows.

    Raises:
        FolderInUseError: if another process holds the lock.
    """
    folder = Path(folder)
    lock = folder / LOCK_NAME
    created = [place for place in (lock, folder, *folder.parents) if not place.exists()]
    descriptor = _lock(lock)
    try:
        with suppress(OSError):  # on a full disk; the lock works without the name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f'{work} (process {os.getpid()})\n'.encode(), 0)
        yield
    except BaseException:
        if descriptor in _held:
            with suppress(OSError):  # a folder with other files remains
                for place in created:
                    place.unlink() if place == lock else place.rmdir()
        raise
    finally:
        if descriptor in _held:  # a forked process has closed it
            _held.remove(descriptor)
            os.close(descriptor)


def _lock(path: Path) -> int:
    """Create a lock file and its folder, lock it, and return its descriptor."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # another process has just removed its empty folder
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors='replace').strip()
            os.close(descriptor)
            raise FolderInUseError(
                f'{path.parent} is in use by another {holder or "process"}; wait until it ends, '
                'or choose another folder'
            ) from None
        except OSError:  # a file system without locks
            pass
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                _held.add(descriptor)
                return descriptor
        os.close(descriptor)  # another process has just removed this file


def replace_results(source: Path, target: Path, first: str) -> None:
    """Move all files and folders of `source` to `target`, where they replace older ones.

    Args:
        source: complete results; empty afterwards.
        target: a folder on the same disk.
        first: name of the file by which results are recognised; moved first, so that results
            that a killed process moved in part are recognised too.
    """
    for path in sorted(source.iterdir(), key=lambda path: path.name != first):
        if (target / path.name).is_dir():
            shutil.rmtree(target / path.name)
        path.replace(target / path.name)


@contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """Create a temporary folder inside a locked one, and remove it at the end.

    The temporary folders of killed processes are removed first.

    Args:
        folder: locked by this process, see `lock_folder`.

    Yields:
        The temporary folder.
    """
    for abandoned in folder.glob(f'{RUN}*'):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=RUN, dir=folder) as name:
        yield Path(name)


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_temporary(path: Path) -> tuple[Path, int]:
    """Open an empty temporary file for `path`, and lock it.

    The name depends on `path` only, so that the file of a killed writer is used again. While
    another process holds the lock, which means that it writes the same file, the name gets a
    random part.

    Returns:
        The temporary name, and the descriptor that holds the lock.
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
        os.close(descriptor)  # another process has just renamed this file
