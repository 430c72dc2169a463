# SPDX-License-Identifier: Apache-2.0
"""Counts of a run: what is kept for continuing, the progress and the table."""

import hashlib
import json
import re
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fuzz.attempt import Outcome


class Tally:
    """Counts of one target, which a file keeps."""

    def __init__(self, name: str, total: int, state: Path) -> None:
        self.name, self.total, self.state, self.task = name, total, state, None
        self.tries = self.accepted = self.refused = 0
        self.seconds = 0.0
        self.findings: dict[str, list] = {}
        """Number of tries, first number and explanation by kind."""
        if state.exists():
            vars(self).update(json.loads(state.read_text()))
        self._since_s = time.monotonic()

    def add(self, number: int, outcome: Outcome) -> bool:
        """Count a try; return whether it is a finding."""
        now_s = time.monotonic()
        self.seconds, self._since_s = self.seconds + now_s - self._since_s, now_s
        self.tries = number + 1
        if outcome.kind:
            found = self.findings.setdefault(outcome.kind, [0, number, outcome.text])
            found[0] += 1
        elif outcome.accepted:
            self.accepted += 1
        else:
            self.refused += 1
        return bool(outcome.kind)

    def save(self) -> None:
        """Write the counts."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        names = ('tries', 'accepted', 'refused', 'seconds', 'findings')
        text = json.dumps({name: getattr(self, name) for name in names})
        self.state.with_suffix('.new').write_text(text)
        self.state.with_suffix('.new').replace(self.state)

    def start(self) -> None:
        """Start the clock of this target."""
        self._since_s = time.monotonic()

    def file_name(self, kind: str) -> str:
        """Return the name of a finding in the corpus, which depends on its cause."""
        words = re.sub(r'[^a-z0-9]+', '_', kind.lower())[:50].strip('_')
        return f'{self.name}-{words}-{hashlib.sha256(kind.encode()).hexdigest()[:6]}.zip'

    def line(self) -> str:
        """Return the counts as a line of a log."""
        return (
            f'{self.name}: {self.tries} tries in {self.seconds:.0f} s, {self.accepted} accepted, '
            f'{self.refused} refused, {len(self.findings)} kinds of findings'
        )


def progress_bar(console: Console) -> Progress:
    """Return a bar per target, with the time left."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )


def print_table(console: Console, tallies: list[Tally]) -> None:
    """Print the counts of all targets, and each kind of finding with its explanation."""
    table = Table('target')
    for title in ('tries', 'accepted', 'refused', 'findings', 'kinds', 'time'):
        table.add_column(title, justify='right')
    for tally in tallies:
        count = sum(found[0] for found in tally.findings.values())
        numbers = tally.tries, tally.accepted, tally.refused, count, len(tally.findings)
        table.add_row(tally.name, *map(str, numbers), f'{tally.seconds:.0f} s')
    for tally in tallies:
        for kind, (count, number, text) in sorted(tally.findings.items()):
            name = tally.file_name(kind)
            title = f'{tally.name}: {kind} ({count} times, first in try {number}, corpus/{name})'
            console.print(title, markup=False, soft_wrap=True, highlight=False)
            console.print(text.rstrip(), markup=False, soft_wrap=True, highlight=False)
    console.print(table)
