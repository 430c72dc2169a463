# SPDX-License-Identifier: Apache-2.0
"""Cache of built engines, which only the user can change.

An engine is code that runs with the user's rights. It is therefore read only from files and
folders that no other user can write to. Each file ends in a SHA-256 of the rest, since engines
have no checksum of their own.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from panoptic_ros.core.files import FolderInUseError, atomic_write, cache_folder, lock_folder
from panoptic_ros.runtime.backend import BackendError

logger = logging.getLogger(__name__)

OTHERS_WRITE = 0o022
"""Permission of the group and of all users to write."""

DIGEST_BYTES = 32


def default_cache_dir() -> Path:
    """Return the folder of engines in the user's cache directory."""
    return cache_folder('engines')


def open_cache(folder: Path) -> None:
    """Create the folder of the engines if it does not exist, and check who can write to it.

    Raises:
        BackendError: if it cannot be created, or another user can change what is in it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own(folder, folder.stat())
    except OSError as error:
        raise BackendError(_no_place(folder, error)) from None


def read_engine(path: Path) -> bytes | None:
    """Read a file that `write_engine` wrote.

    Returns:
        Its content; None if the file does not exist or is damaged.

    Raises:
        BackendError: if it cannot be read, or another user can change it.
    """
    try:
        with open(path, 'rb', opener=_open_at_once) as file:
            _require_own(path, os.fstat(file.fileno()))
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BackendError(
            f'cannot read the engine {path}: {error.strerror}; remove it, or choose another '
            'engine_cache_dir'
        ) from None
    content, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    return content if content and hashlib.sha256(content).digest() == digest else None


def write_engine(content: bytes, path: Path) -> None:
    """Write a file that no other user can change, atomically.

    Raises:
        OSError: if it cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.chmod(0o644)
        temporary.write_bytes(content + hashlib.sha256(content).digest())


def find_or_build(path: Path, build: Callable[[], bytes]) -> bytes:
    """Return an engine from the cache; build and keep it if it is missing or damaged.

    It is built in one process at a time.

    Args:
        path: of the engine; its folder was opened with `open_cache`.
        build: returns the engine.

    Raises:
        BackendError: if another process is building this engine, or the file can be changed by
            others or not be written; what `build` raises.
    """
    engine = read_engine(path)
    if engine is not None:
        return engine
    folder = path.with_suffix('.building')
    try:
        with lock_folder(folder, 'engine build'):
            try:
                engine = read_engine(path)  # another process may just have built it
                if engine is None:
                    if path.exists():
                        logger.warning('the engine %s is damaged and is built again', path)
                    engine = build()
                    write_engine(engine, path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except FolderInUseError as error:
        raise BackendError(str(error)) from None
    except OSError as error:
        raise BackendError(_no_place(path.parent, error)) from None
    return engine


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, as a named pipe would for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _require_own(path: Path, status: os.stat_result) -> None:
    """Refuse a file or folder that a user other than this one and root can change."""
    if status.st_uid not in (0, os.geteuid()):
        raise BackendError(
            f'{path} belongs to user {status.st_uid}, and an engine is code that runs with your '
            'rights; remove it, or choose another engine_cache_dir'
        )
    if status.st_mode & OTHERS_WRITE:
        raise BackendError(
            f'other users can write to {path}, and an engine is code that runs with your rights; '
            'chmod go-w it, or choose another engine_cache_dir'
        )


def _no_place(folder: Path, error: OSError) -> str:
    return (
        f'engines cannot be kept in {folder}: {error.strerror or error}; choose another '
        'engine_cache_dir'
    )
