# SPDX-License-Identifier: Apache-2.0
"""Checks that outputs can be written, and replace neither inputs nor files of unknown origin."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from panoptic_ros.core.documents import read_json


@dataclass(frozen=True)
class Results:
    """Files and folders that a command writes into a folder of results."""

    names: tuple[str, ...] = ()

    mark: str = ''
    """JSON file among them by which earlier results are recognised; empty if the command
    recognises them in another way."""

    key: str = ''
    """Key of the object in that file, which no other command writes."""

    def require_own(self, folder: Path) -> None:
        """Refuse a folder in which the results would replace files of unknown origin.

        Raises:
            ValueError: if the folder holds one of the names but no earlier results.
        """
        found = [name for name in self.names if os.path.lexists(folder / name)]
        mark = folder / self.mark
        if found and self.mark and not _has_key(mark, self.key):
            raise ValueError(
                f'{folder / found[0]} would be replaced, and is not of an earlier run of this '
                'command; choose another folder, or move it away'
            )


def check_folder(path: Path | None, flag: str, is_folder: bool = False) -> None:
    """Check before long work that its result can be written.

    Args:
        path: file or folder to write; None is not checked.
        flag: the flag that the user gave it with, for the message.
        is_folder: True for a folder, which need not exist; False for a file in an existing
            folder.

    Raises:
        OSError: if a folder does not exist or cannot be written to; names it.
        ValueError: if the path is a file and a folder is expected, or the other way round.
    """
    if path is None:
        return
    if is_folder:
        folder = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not folder.is_dir():
            raise ValueError(f'{flag} must be a folder, and {folder} is a file')
    else:
        folder = path.parent
        if not folder.is_dir():
            raise FileNotFoundError(f'{flag}: no folder {folder}')
        if path.exists() and not path.is_file():  # a device would be replaced by a file
            raise ValueError(f'{flag} must be a file, and {path} is not a file')
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(
            f'{flag}: the folder {folder} cannot be written to: {error.strerror}'
        ) from None


def require_apart(
    output: Path, flag: str, inputs: Iterable[Path], results: Results | None = None
) -> None:
    """Refuse an output that would change an input.

    These change an input: a file or folder to write that is the input or contains it; a folder
    of results in a folder of inputs; and in a folder of inputs a file that exists, or that would
    lie beside files with the same ending.

    Args:
        output: file or folder to write.
        flag: the flag that the user gave it with, for the message.
        inputs: files and folders to read; those that do not exist are ignored.
        results: contents of a folder; None for a file.

    Raises:
        ValueError: naming both.
    """
    kind = 'file' if results is None else 'folder'
    targets = [output] if results is None else [output / name for name in results.names]
    place = output.resolve()
    for given in inputs:
        if not os.access(given, os.F_OK):
            continue
        source = given.resolve()
        for target in targets:
            if target.resolve() in (source, *source.parents) or (
                target.exists() and target.samefile(given)
            ):
                raise ValueError(
                    f'{flag}: {target} would replace the input {given}; choose another {kind}'
                )
        lies_in = source.is_dir() and source in (place, *place.parents)
        if lies_in and (results is not None or place.exists() or _has_alike(place)):
            raise ValueError(
                f'{flag}: {output} would change the input folder {given}; choose a {kind} '
                'outside it'
            )


def _has_alike(path: Path) -> bool:
    """Return whether the folder of a file holds files with the same ending."""
    ending = path.suffix.lower()
    return any(file.suffix.lower() == ending and file.is_file() for file in path.parent.iterdir())


def _has_key(path: Path, key: str) -> bool:
    """Return whether a file exists and is a JSON object with this key."""
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and key in values
