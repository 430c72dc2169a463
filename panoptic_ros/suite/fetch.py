# SPDX-License-Identifier: Apache-2.0
"""Local copies of recordings in stores that fsspec opens."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from panoptic_ros.core.files import lock_folder
from panoptic_ros.core.stores import name_inside, open_store
from panoptic_ros.core.text import one_line

CHUNK = 8 << 20
"""Bytes that are copied at a time."""


@contextmanager
def local_copy(url: str, folder: Path, limit_gb: float) -> Iterator[Path]:
    """Copy a recording, a file or a folder of files, and remove the copy at the end.

    Args:
        url: of the recording.
        folder: receives the copy; that of a killed process is replaced.
        limit_gb: largest size, GB.

    Yields:
        The path of the copy.

    Raises:
        FolderInUseError: if another process uses the folder.
        ValueError: if the recording cannot be read or is larger than the limit.
        OSError: if the copy cannot be written.
    """
    store, root = open_store(url)
    target = folder / PurePosixPath(root).name
    with lock_folder(folder, 'replay'):
        try:
            shutil.rmtree(target, ignore_errors=True)
            target.unlink(missing_ok=True)
            left = limit_gb * 1e9
            for source, place in _files(store, root, target, url):
                place.parent.mkdir(parents=True, exist_ok=True)
                left = _copy(store, source, place, left)
                if left < 0:
                    raise ValueError(
                        f'{url} is larger than fetch_gb, {limit_gb:g} GB; raise it in the suite'
                    )
            yield target
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _files(store: Any, root: str, target: Path, url: str) -> list[tuple[str, Path]]:
    """Return the files of a recording, and where they are copied to."""
    try:
        if not store.isdir(root):
            return [(root, target)]
        found = sorted(map(str, store.find(root)))
    except Exception as error:  # each store has errors of its own
        raise ValueError(f'{url} cannot be listed: {one_line(error)}') from None
    return [(file, target / name_inside(file, root, url)) for file in found]


def _copy(store: Any, source: str, place: Path, left: float) -> float:
    """Copy a file, and return how many bytes are left; negative if there were too few."""
    try:
        stream = store.open(source, 'rb')
    except Exception as error:
        raise ValueError(f'{source} cannot be read: {one_line(error)}') from None
    with stream, place.open('wb') as file:
        while left >= 0:
            try:
                data = stream.read(CHUNK)
            except Exception as error:
                raise ValueError(f'{source} cannot be read: {one_line(error)}') from None
            if not data:
                break
            left -= len(data)
            if left >= 0:
                file.write(data)
    return left
