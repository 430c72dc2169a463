# SPDX-License-Identifier: Apache-2.0
"""Folder with the results of one piece of long work, resumed by a later run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import LOCK_NAME, TEMPORARY, lock_folder, write_json


@contextmanager
def open_result_folder(
    folder: Path, settings: Mapping[str, Any], name: str, work: str
) -> Iterator[None]:
    """Lock a folder for results, new or resumed.

    Args:
        folder: folder of the results; it is created if it does not exist.
        settings: everything that the results depend on, as plain values.
        name: JSON file in the folder that keeps the settings.
        work: name of the work (`evaluation`), for messages.

    Raises:
        ValueError: if the folder holds other results or another process works in it.
    """
    _require_same(folder, settings, name, work)  # before a lock is left in a foreign folder
    with lock_folder(folder, work):
        if not _require_same(folder, settings, name, work):
            write_json(settings, folder / name)
        yield


def _require_same(folder: Path, settings: Mapping[str, Any], name: str, work: str) -> bool:
    """Return whether the folder holds results with these settings; refuse other content."""
    path = folder / name
    if path.is_file():
        try:
            old = dict(read_json(path))
        except (TypeError, ValueError):
            raise ValueError(f'{path} is damaged; choose another folder or delete it') from None
        for key in dict(settings) | old:
            if old.get(key) != settings.get(key):
                raise ValueError(
                    f'{folder} holds the {work} of another {key}, '
                    f'{old.get(key)} there and {settings.get(key)} here; '
                    'choose another folder or delete it'
                )
        return True
    if folder.is_dir() and any(
        file.name != LOCK_NAME and not file.name.startswith(TEMPORARY) for file in folder.iterdir()
    ):
        article = 'an' if work[0] in 'aeiou' else 'a'
        raise ValueError(
            f'{folder} is not empty and not of {article} {work}; choose another folder'
        )
    return False
