# SPDX-License-Identifier: Apache-2.0
"""Folders and files in object stores, which fsspec opens."""

from pathlib import PurePosixPath
from typing import Any

from panoptic_ros.core.text import one_line


def is_url(path: str) -> bool:
    """Return whether a path is in a store.

    >>> is_url('s3://drives/monday.mcap'), is_url('drives/monday.mcap')
    (True, False)
    """
    return '://' in path


def open_store(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        ValueError: if fsspec or the package of the protocol is not installed, or the URL is not
            valid.
    """
    try:
        from fsspec.core import url_to_fs

        store, path = url_to_fs(url)
    except ImportError as error:
        raise ValueError(
            f'{url} needs fsspec and the package of its protocol ({one_line(error)}): '
            'pip install fsspec'
        ) from None
    except Exception as error:  # each store has errors of its own
        raise ValueError(f'{url} cannot be opened: {one_line(error)}') from None
    return store, str(path).rstrip('/')


def name_inside(path: str, root: str, url: str) -> PurePosixPath:
    """Return the name of a file of a store relative to a folder of it.

    Raises:
        ValueError: if the name leads out of the folder.
    """
    name = PurePosixPath(path).relative_to(root)
    if '..' in name.parts:
        raise ValueError(f'{url}: the name {one_line(str(name))} leads out of the folder')
    return name
