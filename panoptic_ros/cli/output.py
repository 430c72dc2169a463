"""What the commands write and show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar('T')


def check_folder(path: Path | None, flag: str) -> None:
    """Finds out before long work that its result cannot be written.

    Raises:
        FileNotFoundError: if the folder of `path` does not exist.
    """
    if path and not path.parent.is_dir():
        raise FileNotFoundError(f'{flag}: no folder {path.parent}')


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
    with Progress(BarColumn(), MofNCompleteColumn(), what, RateColumn(), TimeRemainingColumn(),
                  console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=count)
        for item in items:
            yield item
            bar.advance(task)
