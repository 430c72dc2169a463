# SPDX-License-Identifier: Apache-2.0
"""The fuzzer finds each kind of fault, and a few tries of each target have none."""

import warnings

import pytest

from fuzz import runner
from fuzz.attempt import attempt
from fuzz.case import Case
from fuzz.targets import ROWS, load
from fuzz.worker import make_case

TRIES = {True: 4, False: 40}
"""Number of tries by whether a target is slow."""


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('memory', 'memory'),
        ('unexpected', 'KeyError at faulty.py:unexpected'),
        ('of_a_library', 'not raised by the package'),
        ('control_characters', 'control characters'),
        ('wrong', 'wrong: value'),
        ('pickled', 'executed'),
        ('writes', 'written'),
        ('refused', 'refused'),
        ('good_refusal', ''),
    ],
)
def test_each_kind_of_fault_is_found(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('fuzz.attempt.MAX_BYTES', 100 << 20)
    target = load(f'faulty.{name}')
    outcome = attempt(target, make_case(target, 0, 0), tmp_path / 'try')
    assert outcome.kind.startswith(kind)
    assert bool(outcome.kind) == bool(kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('name', 'kind'), [('crash', 'crash: SIGSEGV'), ('hang', 'hang'), ('sleep', 'hang')]
)
def test_a_process_that_dies_costs_one_try(name, kind, monkeypatch):
    monkeypatch.setattr(runner, 'MAX_SECONDS', 0.5)
    monkeypatch.setattr(runner, 'IDLE_FACTOR', 3)
    monkeypatch.setattr(runner, 'START_SECONDS', 20)
    target = load(f'faulty.{name}')
    fails = [make_case(target, 0, number).files['x'][0] < 128 for number in range(100)]
    first = next(n for n in range(100) if fails[n : n + 3] == [False, True, False])
    outcomes = dict(runner.run(f'faulty.{name}', 0, first, first + 3))
    assert [outcomes[first + n].kind for n in range(3)] == ['', kind, '']


def test_a_try_depends_on_seed_and_number_only():
    target = load('parameters')
    assert make_case(target, 3, 7).pack() == make_case(target, 3, 7).pack()
    assert make_case(target, 3, 7).pack() != make_case(target, 3, 8).pack()
    assert make_case(target, 3, 7).pack() != make_case(target, 4, 7).pack()


def test_a_case_is_read_as_it_was_packed(tmp_path):
    case = Case({'a/b': b'\0\xff', 'c': b''}, {'x': [1, None]}, {'d': '../nothing'})
    (tmp_path / 'case.zip').write_bytes(case.pack())
    assert Case.unpack(tmp_path / 'case.zip') == case


@pytest.mark.parametrize('name', ROWS)
def test_the_first_tries_of_a_target_find_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = load(name)
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        outcomes = [
            attempt(target, make_case(target, 0, number), tmp_path / 'try')
            for number in range(TRIES[ROWS[name].slow])
        ]
    assert {outcome.kind: outcome.text for outcome in outcomes if outcome.kind} == {}
    assert ROWS[name].slow or any(outcome.accepted for outcome in outcomes)
    assert not all(outcome.accepted for outcome in outcomes)
