# SPDX-License-Identifier: Apache-2.0
"""Processes of this machine: their number, and processes that are lost."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path

import pytest

from panoptic_ros.suite import local
from panoptic_ros.suite.executor import TRIES, Needs
from panoptic_ros.suite.suite_file import Recording
from panoptic_ros.suite.task import Task

NEEDS = Needs(1, 0.0, 0.5)


def task(name: str, folder: Path) -> Task:
    return Task(Recording(name, '/nowhere'), '', '', '', 1, True, None, 1.0, str(folder))


def touch(values):
    """Note a try; kill the process if the recording is one that does so."""
    name = values['recording']['name']
    log = Path(values['results']) / name
    tries = len(log.read_text()) if log.exists() else 0
    log.write_text('x' * (tries + 1))
    if name.startswith('kills') or (name.startswith('once') and tries == 0):
        os.kill(os.getpid(), signal.SIGKILL)
    return {'name': name, 'status': 'done', 'error': '', 'images': 1}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run tasks of some names with `touch` in place of a replay, and return their results."""
    monkeypatch.setattr(local, 'replay_recording', touch)
    # A spawned process could not import this module.
    monkeypatch.setattr(local, 'get_context', lambda kind: get_context('fork'))

    def run(names, workers=2):
        tasks = [task(name, tmp_path) for name in names]
        found = {one.name: result for one, result in local.execute_locally(tasks, NEEDS, workers)}
        assert sorted(found) == sorted(names)
        return found

    return run


def test_a_recording_that_ends_its_process_takes_no_other_with_it(run, tmp_path):
    names = ['a', 'b', 'kills', 'c', 'once', 'd', 'e', 'f']
    found = run(names)
    assert [name for name in names if found[name] is None] == ['kills']
    assert len((tmp_path / 'kills').read_text()) == TRIES


def test_tasks_are_read_as_processes_become_free(monkeypatch, run, tmp_path):
    """The driver's memory does not grow with the suite."""
    taken = []

    def tasks():
        for i in range(20):
            taken.append(i)
            yield task(str(i), tmp_path)

    for done, _ in enumerate(local.execute_locally(tasks(), NEEDS, 2)):
        assert len(taken) <= done + 2 * 2 + 1
    assert len(taken) == 20


@pytest.mark.parametrize(
    ('needs', 'cores', 'memory_gb', 'expected'),
    [
        (Needs(1, 0, 2), 8, 64, 8),
        (Needs(3, 0, 2), 8, 64, 2),
        (Needs(1, 0, 2), 8, 5, 2),  # memory for two
        (Needs(16, 0, 200), 8, 64, 1),  # at least one
        (Needs(1, 0.25, 2), 8, 64, 4),  # four share a GPU
    ],
)
def test_the_number_of_processes(monkeypatch, needs, cores, memory_gb, expected):
    monkeypatch.setattr(local.os, 'sched_getaffinity', lambda pid: range(cores))
    monkeypatch.setattr(local, '_available_gb', lambda: memory_gb)
    assert local.workers_for(needs) == expected


def test_available_memory_is_that_of_the_machine():
    total_gb = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9
    assert 0.1 < local._available_gb() < total_gb
