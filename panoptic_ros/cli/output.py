# SPDX-License-Identifier: Apache-2.0
"""Check of output paths, and the last lines of commands that write files."""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.core.outputs import Results, check_folder, require_apart
from panoptic_ros.core.text import saved_lines

OUTPUTS = ('output', 'json', 'relations', 'cache', 'plot')
"""Arguments that name outputs; all other paths are inputs."""

OWN_COLORS = (
    'draw classes in the colours of the data set or the class file, instead of colours that are '
    'easy to tell apart'
)
"""Help of the flag `--own-colors`."""

PIPE_WIDTH = 10_000
"""Width of tables that do not go to a terminal, characters: each row is one line."""

INPUT_NAMES = ('card', 'classes', 'data', 'gt', 'model', 'models', 'source', 'recipe', 'study')
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
    for name, value in _single_values(vars(args)):
        if isinstance(value, Path) and name not in OUTPUTS:
            yield value
            if value.suffix == '.json':  # the default of its folder of PNGs
                yield value.with_suffix('')
        elif isinstance(value, str) and name in INPUT_NAMES:
            texts = {value, re.split('[:=]', value, maxsplit=1)[-1]}
            yield from (Path(text) for text in texts if text)


def _single_values(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each argument's name and value, of lists and of groups one by one."""
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                yield from _single_values(one)
            else:
                yield name, one


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


def table_console(**options: Any) -> Any:
    """Return a rich.console.Console for tables, which wraps nothing in a file or a pipe."""
    from rich.console import Console

    console = Console(**options)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console
