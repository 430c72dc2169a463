# SPDX-License-Identifier: Apache-2.0
"""What the commands write and show."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar('T')


def check_folder(path: Path | None, flag: str, is_folder: bool = False) -> None:
    """Finds out before long work that its result cannot be written.

    Args:
        path: what is to be written; None is fine.
        flag: by which the user named it.
        is_folder: whether it is a folder, which is made where there is none; else a file in a
            folder that exists.

    Raises:
        OSError: if a folder is missing or cannot be written to; names it.
        ValueError: if the path is a file in place of a folder, or the other way round.
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
            raise ValueError(f'{flag} must be a file, and {path} is none')
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(
            f'{flag}: the folder {folder} cannot be written to: {error.strerror}'
        ) from None


def with_bar(items: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Yields the items; where stderr is a terminal a bar shows rate and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f'{task.speed:.1f}/s' if task.speed else '')

    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        what,
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=count)
        for item in items:
            yield item
            bar.advance(task)
