# SPDX-License-Identifier: Apache-2.0
"""Replays that are killed, run out of disk space, or find another one in their folder."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from replay_bags import GT_TOPIC, drive, write_bag
from replay_runs import run, same_results, summary

from panoptic_ros.core.files import lock_folder
from panoptic_ros.replay.outputs_log import LoggedBackend

pytest.importorskip('matplotlib', reason='reports are drawn by it')


def start(bag, model, output) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            '-m',
            'panoptic_ros.cli.main',
            'replay',
            str(bag),
            '--model',
            str(model),
            '--gt',
            GT_TOPIC,
            '-o',
            str(output),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(240)
def test_a_killed_replay_resumes_with_equal_results(tmp_path, slow_model, capsys):
    path = write_bag(tmp_path / 'bag', drive(24))
    assert run(path, '--model', slow_model, '--gt', GT_TOPIC, '-o', tmp_path / 'whole') == 0
    log = tmp_path / 'killed' / '.unfinished' / 'outputs.log'
    sizes = [0]
    for _ in range(2):  # killed twice, each time with more done
        process = start(path, slow_model, tmp_path / 'killed')
        give_up = time.monotonic() + 90
        while not log.is_file() or log.stat().st_size < sizes[-1] + 4000:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        sizes.append(log.stat().st_size)
    with log.open('ab') as file:  # a kill in the middle of a record
        file.write(b'\x20\0\0\0\0\0\0\0half')
    capsys.readouterr()
    assert run(path, '--model', slow_model, '--gt', GT_TOPIC, '-o', tmp_path / 'killed') == 0
    output = capsys.readouterr().out
    kept = summary(tmp_path / 'killed')['timing']['kept_from_earlier']
    assert 2 <= kept < 24
    assert f'{kept} of them had passed the network' in output
    assert same_results(tmp_path / 'whole', tmp_path / 'killed')


def test_a_full_disk_ends_a_replay_that_can_resume(tmp_path, bag, tiny_model, capsys, monkeypatch):
    real, calls = LoggedBackend._write, []

    def write(self, data):
        calls.append(0)
        if len(calls) == 4:
            raise OSError(28, 'No space left on device', str(self._path))
        real(self, data)

    monkeypatch.setattr(LoggedBackend, '_write', write)
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'out') == 2
    assert re.search(r'outputs\.log: No space left on device', capsys.readouterr().err)
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    assert summary(tmp_path / 'out')['timing']['kept_from_earlier'] == 3
    assert summary(tmp_path / 'out')['frames']['good'] == 8


def test_a_folder_takes_one_replay_at_a_time(tmp_path, bag, capsys):
    with lock_folder(tmp_path / 'out', 'replay'):
        # Before the model is loaded: there is none.
        assert run(bag, '--model', tmp_path / 'none.onnx', '-o', tmp_path / 'out') == 2
    assert re.search(
        rf'out is in use by another replay \(process {os.getpid()}\)', capsys.readouterr().err
    )


@pytest.mark.parametrize('text', ['[]', '3', '{', '[' * 50_000, ''])
def test_damaged_notes_of_an_unfinished_replay_are_refused(
    tmp_path, bag, tiny_model, capsys, text
):
    work = tmp_path / 'out' / '.unfinished'
    work.mkdir(parents=True)
    (work / 'run.json').write_text(text)
    (work / 'outputs.log').write_bytes(b'something')
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'out') == 2
    assert 'holds an unfinished replay with another bag, model' in capsys.readouterr().err


def test_an_unfinished_replay_of_something_else_is_not_gone_on_with(
    tmp_path, bag, tiny_model, capsys
):
    work = tmp_path / 'out' / '.unfinished'
    work.mkdir(parents=True)
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'other') == 0
    (work / 'run.json').write_text('{}')
    (work / 'outputs.log').write_bytes(b'of another model')
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'out') == 2
    assert 'holds an unfinished replay with another bag, model' in capsys.readouterr().err
