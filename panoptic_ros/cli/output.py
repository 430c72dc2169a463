"""What the commands write and show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar('T')


def check_folder(path: Path | None, flag: str) -> None:
    """Finds out before long work that its result cannot be written.

    Raises:
        FileNotFoundError: if the folder of `path` does not exist.
    """
    if path and not path.parent.is_dir():
        raise FileNotFoundError(f'{flag}: no folder {path.parent}')


def write_json(value: Any, path: Path) -> None:
    """Writes a JSON file; the path is whole or untouched."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        temporary.write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def with_bar(items: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Yields the items, with a progress bar, rate and time left on stderr."""
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

    with Progress(BarColumn(), MofNCompleteColumn(), what, RateColumn(), TimeRemainingColumn(),
                  console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=count)
        for item in items:
            yield item
            bar.advance(task)
