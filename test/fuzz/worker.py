# SPDX-License-Identifier: Apache-2.0
"""Process in which the tries of one target run, one after the other."""

import faulthandler
import logging
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random
from typing import Any

from fuzz.attempt import attempt, limit_memory
from fuzz.case import Case, Target
from fuzz.targets import load


def random_of(seed: int, target: str, number: int) -> Random:
    """Return the random numbers of one try, which depend on nothing else."""
    return Random(f'{seed} {target} {number}')


def make_case(target: Target, seed: int, number: int) -> Case:
    """Return the case of one try."""
    return target.make(random_of(seed, target.name, number))


def work(name: str, seed: int, first: int, last: int, log: str, pipe: Any) -> None:
    """Run the tries `first` to `last` - 1, and send the number and outcome of each.

    Args:
        name: the target.
        seed: of the random numbers.
        first: number of the first try.
        last: number behind that of the last one.
        log: file for the standard output and error of libraries, and for the stack of a crash.
        pipe: a connection; receives None once the target is loaded.
    """
    stream = Path(log).open('w')  # noqa: SIM115  for the life of the process
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    faulthandler.enable(stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    sys.setrecursionlimit(1000)
    logging.disable(logging.WARNING)
    # NumPy warns of numbers that do not fit, and then returns wrong ones.
    warnings.filterwarnings('error', category=RuntimeWarning)
    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None  # quicker than a disk
    with tempfile.TemporaryDirectory(prefix='fuzz-', dir=memory) as name_of_folder:
        os.chdir(name_of_folder)
        tempfile.tempdir = name_of_folder
        target = load(name)
        attempt(target, make_case(target, seed, first), Path('try').absolute())  # late imports
        limit_memory()
        pipe.send(None)
        for number in range(first, last):
            stream.seek(0)
            stream.truncate()
            outcome = attempt(target, make_case(target, seed, number), Path('try').absolute())
            pipe.send((number, outcome))
        os.chdir('/')
    pipe.close()
