# SPDX-License-Identifier: Apache-2.0
"""Check of output paths, a progress bar, and the last lines of commands that write files."""

import argparse
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from panoptic_ros.core.outputs import Results, check_folder, require_apart
from panoptic_ros.core.text import saved_lines

T = TypeVar('T')

BAR_AFTER_S = 2.0
"""Time without a progress bar, s."""

OUTPUTS = ('output', 'json', 'relations', 'cache')
"""Arguments that name outputs; all other paths are inputs."""

INPUT_NAMES = ('classes', 'data', 'gt', 'source', 'recipe', 'study')
"""Arguments whose texts may name an input, alone or after `:` or `=`, as `coco:<folder>` does."""


def check_output(args: argparse.Namespace, name: str, results: Results | None = None) -> None:
    """Check before long work that an output can be written and leaves the inputs as they are.

    Args:
        args: the command's arguments.
        name: argument of the output; one that was not given is not checked.
        results: contents of a folder; None for a file.

    Raises:
        OSError, ValueError: see `check_folder`, `require_apart` and `Results.require_own`.
    """
    path, flag = getattr(args, name), f'--{name}'
    if path is None:
        return
    check_folder(path, flag, is_folder=results is not None)
    require_apart(path, flag, _inputs(args), results)
    if results is not None:
        results.require_own(path)


def _inputs(args: argparse.Namespace) -> Iterator[Path]:
    """Yield the paths that a command may read; not all of them exist."""
    for name, value in vars(args).items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Path) and name not in OUTPUTS:
                yield one
                if one.suffix == '.json':  # the default of its folder of PNGs
                    yield one.with_suffix('')
            elif isinstance(one, str) and name in INPUT_NAMES:
                yield from (
                    Path(text) for text in {one, re.split('[:=]', one, maxsplit=1)[-1]} if text
                )


def with_bar(items: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Yield the items; after BAR_AFTER_S, show a bar with rate and remaining time on stderr.

    Args:
        items: any iterable.
        count: number of items.
        what: name of the items.
    """
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

    columns = BarColumn(), MofNCompleteColumn(), what, RateColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(what, total=count)
    start = time.monotonic()
    with ExitStack() as stack:
        for item in items:
            yield item
            bar.advance(task)
            if not bar.live.is_started and time.monotonic() - start > BAR_AFTER_S:
                stack.enter_context(bar)


def report_saved(
    summary: str, *places: Path | None, names: Iterable[str] = (), next_command: Sequence[str] = ()
) -> None:
    """Print the last lines of a command that has written something; see `saved_lines`.

    Args:
        summary: what the command did, in a few words.
        places: the files and folders that it wrote; None for one that the user did not ask for.
        names: see `saved_lines`.
        next_command: see `saved_lines`.
    """
    written = [str(place) for place in places if place is not None]
    for line in saved_lines(summary, written, names, next_command):
        print(line)
