# SPDX-License-Identifier: Apache-2.0
"""Command line of the fuzzer: `make fuzz`, or `PYTHONPATH=test python -m fuzz`."""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from fuzz.report import Tally, print_table, progress_bar
from fuzz.runner import run
from fuzz.targets import ROWS, load
from fuzz.worker import make_case

CORPUS = Path(__file__).parent / 'corpus'
SAVE_SECONDS = 5.0
SLOW_SHARE = 10
"""Slow targets get one of so many tries."""


def main() -> int:
    """Run the tries that are left; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog='fuzz', description=__doc__)
    parser.add_argument('-n', type=int, default=10_000, help='tries of each target in memory')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--target', choices=ROWS, nargs='*', default=list(ROWS))
    parser.add_argument('--state', type=Path, default=Path('build/fuzz'), help='for continuing')
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    console = Console()
    tallies = []
    try:
        with progress_bar(console) as bar:
            for name in args.target or ROWS:
                count = args.n // (SLOW_SHARE if ROWS[name].slow else 1)
                tallies.append(
                    Tally(name, count, args.state / f'{name}-seed{args.seed}-n{args.n}.json')
                )
                tallies[-1].task = bar.add_task(name, total=count, completed=tallies[-1].tries)
            for tally in tallies:
                fuzz(
                    tally,
                    args.seed,
                    lambda tally=tally: bar.update(tally.task, completed=tally.tries),
                )
                if not console.is_terminal:
                    console.print(tally.line(), soft_wrap=True)
    except KeyboardInterrupt:
        print_table(console, tallies)
        console.print('stopped; the same command continues')
        return 130
    print_table(console, tallies)
    for tally in tallies:
        tally.state.unlink(missing_ok=True)
    return int(any(tally.findings for tally in tallies))


def fuzz(tally: Tally, seed: int, show: Callable[[], None]) -> None:
    """Run the tries of a target that are left."""
    saved_s = time.monotonic()
    tally.start()
    try:
        for number, outcome in run(tally.name, seed, tally.tries, tally.total):
            if tally.add(number, outcome):
                keep(tally, seed, number, outcome.kind)
            show()
            if time.monotonic() - saved_s > SAVE_SECONDS:
                tally.save()
                saved_s = time.monotonic()
    finally:
        tally.save()


def keep(tally: Tally, seed: int, number: int, kind: str) -> None:
    """Write the case of a finding to the corpus; of several with one cause, the smallest."""
    packed = make_case(load(tally.name), seed, number).pack()
    path = CORPUS / tally.file_name(kind)
    if not path.exists() or len(packed) < path.stat().st_size:
        path.write_bytes(packed)


if __name__ == '__main__':
    sys.exit(main())
