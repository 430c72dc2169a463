# SPDX-License-Identifier: Apache-2.0
"""Targets with faults, for the tests of the fuzzer itself."""

import ctypes
import os
import pickle
import time
from pathlib import Path
from random import Random

from fuzz.case import CANARY, Case, Target, Wrong
from panoptic_ros.core.labels import as_bool


def make(rng: Random) -> Case:
    return Case({'x': rng.randbytes(4)}, {'number': rng.random()})


def make_intact(rng: Random) -> Case:
    return Case({}, {'intact': True})


def crash(case: Case, folder: Path) -> None:
    if case.files['x'][0] < 128:
        ctypes.string_at(0)


def hang(case: Case, folder: Path) -> None:
    if case.files['x'][0] < 128:
        while True:
            pass


def sleep(case: Case, folder: Path) -> None:
    if case.files['x'][0] < 128:
        time.sleep(1000)


def memory(case: Case, folder: Path) -> None:
    bytearray(200 << 20)


def unexpected(case: Case, folder: Path) -> None:
    raise KeyError('x')


def of_a_library(case: Case, folder: Path) -> None:
    int('x')


def control_characters(case: Case, folder: Path) -> None:
    as_bool_of_package('\x1b[2J')


def as_bool_of_package(text: str) -> None:
    try:
        as_bool(3, text)
    except ValueError as error:
        raise error


def good_refusal(case: Case, folder: Path) -> None:
    as_bool(3, 'x')


def wrong(case: Case, folder: Path) -> None:
    raise Wrong('value: 3')


class _Mark:
    def __reduce__(self) -> tuple:
        return os.mkdir, (CANARY,)


def pickled(case: Case, folder: Path) -> None:
    pickle.loads(pickle.dumps(_Mark()))


def writes(case: Case, folder: Path) -> None:
    (folder / 'x').write_bytes(b'')


TARGETS = (
    *(Target(f.__name__, make, f) for f in (crash, hang, sleep, memory, unexpected, of_a_library)),
    *(Target(f.__name__, make, f) for f in (control_characters, wrong, pickled, writes)),
    Target('good_refusal', make, good_refusal),
    Target('refused', make_intact, good_refusal),
)
