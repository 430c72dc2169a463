# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on standard error: a bar in a terminal, plain lines in a log."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar('T')

BAR_AFTER_S = 2.0
"""Time without a progress bar, s, so that short work shows none."""

LINE_EVERY_S = 60.0
"""Time between two lines in a log, s."""

REFRESH_S = 0.1
"""Minimum time between two pictures of the bar, s."""

BAR_WIDTH = 20
"""Width of the bar, characters."""


class Progress:
    """Progress of long work: done and total, rate, remaining time, and a note.

    In a terminal a bar appears after BAR_AFTER_S. Elsewhere a line is printed every LINE_EVERY_S,
    which neither moves the cursor nor has colours. Both appear when `update` is called only; there
    is no thread.

    Args:
        what: name of what is counted, plural ('images scored').
        total: number at the end; infinity if it is not known.
        done: number at the start, for work that resumes.
        is_even: False for work of which equal parts take very different times, so that rate and
            remaining time would mislead.
    """

    def __init__(self, what: str, total: float, done: float = 0, is_even: bool = True) -> None:
        self.what, self.total, self.done, self.is_even = what, total, done, is_even
        self.note = ''
        self.left_s: float | None = None
        self._first, self._start = done, time.monotonic()
        self._shown = self._start
        self._in_terminal = in_terminal()
        self._has_lines = self._is_over = False
        self._bar: Any = None

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *error: object) -> None:
        self.close(is_complete=error[0] is None)

    @property
    def elapsed_s(self) -> float:
        """Time since the start, seconds."""
        return time.monotonic() - self._start

    def update(
        self, done: float, note: str = '', total: float | None = None, left_s: float | None = None
    ) -> None:
        """Set the progress, and show it if it is time to.

        Args:
            done: number that is done, those before the start included.
            note: further information, shown after the numbers.
            total: replaces the total.
            left_s: remaining time if it is known; estimated from the rate otherwise.
        """
        self.done, self.note, self.left_s = done, note, left_s
        self.total = self.total if total is None else total
        self.refresh()

    def refresh(self) -> None:
        """Show the progress if it is time to."""
        now = time.monotonic()
        if self._bar is not None:
            if now - self._shown >= REFRESH_S:
                self._draw(now)
        elif self._in_terminal:
            if now - self._start >= BAR_AFTER_S:
                self._open_bar(now)
        elif now - self._shown >= LINE_EVERY_S:
            self._shown, self._has_lines = now, True
            print(self.line(), file=sys.stderr, flush=True)

    def close(self, is_complete: bool = True) -> None:
        """Show the final state if anything was shown before; remove the bar of unfinished work."""
        now, self._is_over = time.monotonic(), True
        if self._bar is not None:
            self._draw(now)
            self._bar.live.transient = not is_complete
            self._bar.stop()
            self._bar = None
        elif self._has_lines and is_complete and now > self._shown:
            print(self.line(), file=sys.stderr, flush=True)
        self._has_lines = False

    def line(self, separator: str = ', ') -> str:
        """Return the progress as text: numbers, rate, remaining or elapsed time, note."""
        count = f'{math.floor(self.done)} {self.what}'
        if math.isfinite(self.total):
            share = math.floor(100 * self.done / max(self.total, 1))
            count = f'{math.floor(self.done)} of {self.total:.0f} {self.what} ({share} %)'
        elapsed = self.elapsed_s
        rate = (self.done - self._first) / elapsed if elapsed > 0 and self.is_even else 0.0
        words = [count]
        if rate > 0:
            words.append(f'{rate:.1f}/s' if rate >= 1 else f'{format_duration(1 / rate)} each')
        if self._is_over:
            words.append(f'took {format_duration(elapsed)}')
        elif self.left_s is not None:
            words.append(f'{format_duration(self.left_s)} left')
        elif rate > 0 and self.done < self.total < math.inf:
            words.append(f'{format_duration((self.total - self.done) / rate)} left')
        return ', '.join(words) + (f'{separator}{self.note}' if self.note else '')

    def _open_bar(self, now: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            BarColumn(BAR_WIDTH),
            TextColumn('{task.description}', markup=False),
            console=Console(stderr=True, highlight=False),
            auto_refresh=False,
            # Lines that are printed meanwhile stand above the bar, unless they go to a file.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._bar.add_task('')
        self._draw(now)  # before the first picture
        self._bar.start()

    def _draw(self, now: float) -> None:
        self._shown = now
        known = math.isfinite(self.total)
        self._bar.update(
            self._bar.task_ids[0],
            description=self.line('\n'),
            total=self.total if known else None,
            completed=self.done if known else 0,
        )
        self._bar.refresh()


def with_bar(items: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Yield the items, and show how many of them are done; see `Progress`.

    Args:
        items: any iterable.
        count: number of items.
        what: name of the items.
    """
    with Progress(what, count) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress.update(done)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show what a command is doing: a spinner in a terminal, elsewhere one line."""
    if not in_terminal():
        print(text, file=sys.stderr, flush=True)
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)):
        yield


def in_terminal() -> bool:
    """Return whether standard error is a terminal that can move its cursor."""
    from rich.console import Console

    # Console.is_terminal alone is also true for a log file with FORCE_COLOR=1, as in CI.
    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


def format_duration(seconds: float) -> str:
    """Return a duration as text with two units at most.

    >>> [format_duration(s) for s in (0.25, 12, 200, 26_000, 200_000)]
    ['0.2 s', '12 s', '3 min 20 s', '7 h 13 min', '2 d 8 h']
    """
    if seconds < 9.95:
        return f'{seconds:.1f} s'
    for size, unit, part, smaller in (
        (86_400, 'd', 3600, 'h'),
        (3600, 'h', 60, 'min'),
        (60, 'min', 1, 's'),
    ):
        if round(seconds) >= size:
            large, rest = divmod(round(seconds / part), size // part)
            return f'{large} {unit}' + (f' {rest} {smaller}' if rest else '')
    return f'{seconds:.0f} s'
