# SPDX-License-Identifier: Apache-2.0
"""Local copies of data sets in object stores, which fsspec opens: `coco:s3://bucket/my_data`.

A training checks every file of its data before the first step, so all of it is copied then. Later
runs copy only files that have changed; processes of one machine share the copy.
"""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import (
    FolderInUseError,
    atomic_write,
    cache_folder,
    lock_folder,
    write_json,
)
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.stores import name_inside, open_store
from panoptic_ros.core.text import one_line

INDEX = 'remote.json'
"""File in a copy that lists the state of each file in the store."""

FILES = 'files'

STATE = ('size', 'ETag', 'etag', 'md5Hash', 'LastModified', 'mtime', 'updated', 'created')
"""Keys of a store's description of a file by which a change is noticed, as far as it has them."""

THREADS = 8
"""Files that are copied at the same time."""

WAIT_S = 0.5


def local_copy(url: str) -> Path:
    """Return a local copy of a folder in an object store, after copying what has changed.

    The copy lies in the user's cache folder, see `cache_folder`, and needs as much space as the
    data.

    Args:
        url: of the folder, in a protocol that fsspec knows.

    Raises:
        ValueError: if the protocol is unknown or its package is missing, a file has a name that
            leads out of the folder, or cannot be copied.
        FileNotFoundError: if there is no such folder.
    """
    files, root = open_store(url)
    found = {
        name_inside(path, root, url): (path, _state(info))
        for path, info in files.find(root, detail=True).items()
    }
    if not found:
        raise FileNotFoundError(f'{url} holds no file')
    folder = cache_folder('data') / hashlib.sha256(url.encode()).hexdigest()[:16]
    with _locked(folder):
        _update(files, found, folder)
    return folder / FILES


def _state(info: dict[str, Any]) -> str:
    return ' '.join(f'{key}={info[key]}' for key in STATE if info.get(key) is not None)


def _update(files: Any, found: dict[PurePosixPath, tuple[str, str]], folder: Path) -> None:
    """Copy the files that are new or have changed, and remove those that are gone."""
    index = folder / INDEX
    try:
        known = dict(read_json(index))
    except (OSError, ValueError, TypeError):
        known = {}
    target = folder / FILES

    def copy(name: PurePosixPath) -> None:
        path, state = found[name]
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(place) as temporary:
            try:
                files.get_file(path, str(temporary))
            except OSError as error:
                raise ValueError(f'{path} cannot be copied: {one_line(error)}') from None
        known[str(name)] = state

    changed = [
        name
        for name, (_, state) in found.items()
        if known.get(str(name)) != state or not (target / name).is_file()
    ]
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in with_bar(pool.map(copy, changed), len(changed), 'files copied'):
                pass
    finally:
        for gone in {*known} - {str(name) for name in found}:
            with suppress(FileNotFoundError):
                (target / gone).unlink()
            del known[gone]
        write_json(known, index, indent=None)


def _locked(folder: Path) -> ExitStack:
    """Return the lock of a folder, after waiting while another process copies into it."""
    stack = ExitStack()
    while True:
        with suppress(FolderInUseError):
            stack.enter_context(lock_folder(folder, 'copying of a data set'))
            return stack
        time.sleep(WAIT_S)
