# SPDX-License-Identifier: Apache-2.0
"""Commands with a time limit."""

import os
import sys
import time
from pathlib import Path

import pytest

from panoptic_ros.doctor.probes import Probe, python_module


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path):
    script = tmp_path / 'nvidia-smi'
    script.write_text(f'#!/bin/sh\necho started\nsleep 60 & echo $! > {tmp_path}/child\nwait\n')
    script.chmod(0o755)
    start = time.monotonic()
    ended = Probe([str(script)], 1).result
    assert time.monotonic() - start < 5
    assert ended.cut_off and ended.failure == 'no answer within 1 s'
    assert ended.output == 'started\n'
    child = int((tmp_path / 'child').read_text())
    for _ in range(50):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if 'State:\tZ' in Path(f'/proc/{child}/status').read_text():  # nobody reaps it here
            return
        time.sleep(0.05)
    pytest.fail('the child of the command still runs')


def test_a_missing_command():
    ended = Probe(['no-such-command-here'], 1).result
    assert ended.missing and not ended.cut_off
    assert ended.failure == 'no-such-command-here: No such file or directory'


@pytest.mark.parametrize(
    ('code', 'failure'),
    [
        ('print(1)', ''),
        ('import sys; sys.exit(3)', 'exit status 3'),
        ('import os; os.abort()', 'ended by SIGABRT'),
    ],
)
def test_the_end_of_a_command_is_reported(code, failure):
    assert Probe([sys.executable, '-c', code], 20).result.failure == failure


def test_only_lines_with_json_objects_are_read():
    code = "print('Loading {'); print('[1]'); print('{\"a\": 1}'); print('{')"
    assert Probe([sys.executable, '-c', code], 20).result.documents == [{'a': 1}]


def test_modules_run_with_this_interpreter():
    ended = Probe(python_module('panoptic_ros.doctor.import_check', 'json', 'no_such'), 20).result
    assert [row['error'] for row in ended.documents] == [None, 'is not installed']


def test_a_cut_off_command_may_only_be_slow():
    ended = Probe(['sleep', '60'], 0.1).result
    assert (
        ended.reason
        == 'no answer within 0.1 s; repeat this first, since a slow disk may be the cause'
    )


@pytest.mark.parametrize(
    ('code', 'reason'),
    [
        ('raise ImportError("no libx.so\\nsee the page")', 'ImportError: no libx.so see the page'),
        ('import sys; sys.stderr.write("a\\n[ERROR] b\\n"); sys.exit(1)', '[ERROR] b'),
        ('raise SystemExit(1)', None),
    ],
)
def test_the_reason_holds_the_last_error(code, reason):
    expected = ': '.join(filter(None, ['exit status 1', reason]))
    assert Probe([sys.executable, '-c', code], 20).result.reason == expected


def test_a_python_without_files_in_memory(monkeypatch):
    monkeypatch.delattr(os, 'memfd_create')
    assert Probe([sys.executable, '-c', 'print("{}")'], 20).result.documents == [{}]
