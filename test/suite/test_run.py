# SPDX-License-Identifier: Apache-2.0
"""Runs of suites on this machine: results, merging, resuming, bad recordings."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from replay_bags import GT_TOPIC, drive, write_bag
from replay_runs import run as replay
from replay_runs import same_results
from suite_runs import figures, rows_of, run_suite, summary_of, write_suite
from tiny_model import ANIMALS

from panoptic_ros.core.documents import read_json
from panoptic_ros.replay.counts import scores_of
from panoptic_ros.suite import worker
from panoptic_ros.suite.merge import PLACES, value_of


def test_each_recording_has_the_results_of_a_replay(drives, finished, tmp_path):
    config = tmp_path / 'node.yaml'  # a suite with `gpus: 0` uses none
    config.write_text('/**: {ros__parameters: {device: cpu}}')
    flags = ('--model', drives / 'tiny.onnx', '--gt', GT_TOPIC, '--config', config)
    assert replay(drives / 'pausing', *flags, '-o', tmp_path / 'pausing') == 0
    assert same_results(tmp_path / 'pausing', finished / 'recordings' / 'pausing')


def test_scores_are_those_of_merged_counts(finished):
    summary = summary_of(finished)
    names = [row['name'] for row in rows_of(finished)]
    assert names == ['sunny_1', 'sunny_2', 'rainy', 'pausing']

    def merged(*chosen):
        total = None
        for name in chosen:
            path = finished / 'recordings' / name / 'counts.json'
            scores = scores_of(read_json(path), str(path))
            if total is None:
                total = scores
            else:
                total.merge(scores)
        values = json.loads(json.dumps(total.to_dict()))
        del values['video']['switches']
        return values

    assert summary['scores'] == merged(*names)
    assert summary['tags']['sun']['scores'] == merged('sunny_1', 'sunny_2', 'pausing')
    assert summary['tags']['pause']['scores']['video']['all']['id_switches'] == 2
    assert summary['frames'] == {'replayed': 23, 'good': 23, 'bad': 0, 'lost': 0}
    assert summary['recordings'] == {'all': 4, 'done': 4, 'failed': 0}
    for row in rows_of(finished):
        own = summary_of(finished / 'recordings' / row['name'])['scores']
        for name, place in PLACES.items():
            assert row[name] == pytest.approx(value_of(own, place), rel=1e-9), name
    # Merged counts differ from the mean of the recordings' scores.
    means = [row['idf1'] for row in rows_of(finished)]
    assert summary['scores']['video']['all']['idf1'] != pytest.approx(sum(means) / 4, abs=0.5)


def test_provenance_is_in_the_summary(finished, drives):
    summary = summary_of(finished)
    replayed = summary_of(finished / 'recordings' / 'rainy')
    assert summary['model'] == {
        'name': 'tiny',
        'file': 'tiny.onnx',
        'hash': replayed['model']['hash'],
    }
    assert summary['software']['panoptic_ros'] and summary['software']['onnxruntime']
    assert 'commit' in summary['software'] and summary['parameters'] == {}


def test_worst_frames_are_those_with_the_lowest_pq(finished):
    worst = summary_of(finished)['worst']
    assert [one['badness'] for one in worst] == sorted(
        (one['badness'] for one in worst), reverse=True
    )
    for one in worst:
        assert len(one['files']) == 2  # overlay and ground truth
        assert all((finished / 'worst' / file).stat().st_size for file in one['files'])


@pytest.mark.usefixtures('in_process')
def test_recordings_that_fail_are_listed_and_the_suite_goes_on(drives, tmp_path, capsys):
    (tmp_path / 'broken.mcap').write_bytes(b'no bag')
    write_bag(tmp_path / 'animals', drive(2, labels=ANIMALS))
    suite = write_suite(
        tmp_path / 'suite.yaml',
        [
            {'path': 'broken.mcap', 'tags': ['bad']},
            {'path': 'missing'},
            {'path': 'animals', 'ground_truth': GT_TOPIC},
            {'path': str(drives / 'sunny_1'), 'tags': ['good']},
        ],
        model=str(drives / 'tiny.onnx'),
    )
    assert run_suite(suite, '-o', tmp_path / 'out') == 1
    output = capsys.readouterr().out
    for name, reason in (
        ('broken', 'is not an mcap file'),
        ('missing', 'no bag at '),
        ('animals', 'the ground truth has other classes than the model: only the ground truth'),
    ):
        lines = [line for line in output.splitlines() if line.startswith(f'failed: {name} ')]
        assert len(lines) == 1 and reason in lines[0], output
    assert '1 of 4 recordings replayed, 4 images' in output
    summary = summary_of(tmp_path / 'out')
    assert summary['recordings'] == {'all': 4, 'done': 1, 'failed': 3}
    assert list(summary['tags']) == ['good']
    log = (tmp_path / 'out' / 'progress.log').read_text()
    assert 'broken failed: ' in log and '4 of 4 recordings (100 %)' in log
    # What was repaired is replayed by the same command; the rest is not replayed again.
    shutil.rmtree(tmp_path / 'animals')
    write_bag(tmp_path / 'animals', drive(2))
    kept = tmp_path / 'out' / 'recordings' / 'sunny_1' / 'summary.json'
    before = kept.stat().st_mtime_ns
    assert run_suite(suite, '-o', tmp_path / 'out') == 1
    assert summary_of(tmp_path / 'out')['recordings'] == {'all': 4, 'done': 2, 'failed': 2}
    assert kept.stat().st_mtime_ns == before


def test_a_killed_run_resumes_with_equal_figures(drives, finished, tmp_path, slow_model):
    """Killed by SIGKILL, with its workers in the middle of recordings."""
    out = tmp_path / 'out'
    entries = [
        {'path': str(drives / name), 'ground_truth': GT_TOPIC} for name in ('sunny_1', 'sunny_2')
    ]
    write_suite(tmp_path / 'suite.yaml', entries, model=str(slow_model))
    words = ['suite', 'run', str(tmp_path / 'suite.yaml'), '-o', str(out), '--workers', '1']
    process = subprocess.Popen(
        [sys.executable, '-m', 'panoptic_ros.cli.main', *words], stderr=subprocess.DEVNULL
    )
    give_up = time.monotonic() + 120
    log = out / 'recordings' / 'sunny_2' / '.unfinished' / 'outputs.log'
    while not (log.is_file() and log.stat().st_size):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / 'summary.json').exists()
    before = (out / 'outcomes' / 'sunny_1.json').stat().st_mtime_ns
    assert run_suite(*words[2:]) == 0
    assert (out / 'outcomes' / 'sunny_1.json').stat().st_mtime_ns == before
    assert '1 of 2 recordings done before' in (out / 'progress.log').read_text()
    found, expected = figures(out), figures(finished)
    for name in ('sunny_1', 'sunny_2'):  # the models differ by name and work only
        assert found[name][:2] == expected[name][:2]


def test_ctrl_c_ends_all_processes_without_a_traceback(drives, tmp_path, slow_model):
    entries = [{'path': str(drives / 'pausing')}]
    suite = write_suite(tmp_path / 'suite.yaml', entries, model=str(slow_model))
    # The second process waits for work.
    words = ['suite', 'run', str(suite), '-o', str(tmp_path / 'out'), '--workers', '2']
    process = subprocess.Popen(
        [sys.executable, '-m', 'panoptic_ros.cli.main', *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    give_up = time.monotonic() + 120
    while not list(tmp_path.glob('out/recordings/*/.unfinished/outputs.log')):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)  # ends when no process holds the pipe any more
    assert process.returncode == 130
    assert 'Traceback' not in output and 'Error' not in output


def test_a_gpu_that_the_suite_does_not_ask_for_is_refused(drives, tmp_path, capsys):
    (tmp_path / 'node.yaml').write_text('/**: {ros__parameters: {device: "cuda:0"}}')
    entries = [{'path': str(drives / 'rainy')}]
    keys = {'model': str(drives / 'tiny.onnx'), 'config': 'node.yaml'}
    suite = write_suite(tmp_path / 'suite.yaml', entries, **keys)
    assert run_suite(suite, '-o', tmp_path / 'out') == 2
    assert 'the parameters name the device cuda:0, and the suite' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_results_of_another_suite_are_kept(drives, finished, tmp_path, capsys):
    suite = write_suite(tmp_path / 'other.yaml', [{'path': str(drives / 'rainy')}], name='other')
    before = (finished / 'summary.json').read_bytes()
    assert run_suite(suite, '-o', finished) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'holds the suite of another suite, small there and other here' in error
    (tmp_path / 'foreign').mkdir()
    (tmp_path / 'foreign' / 'diary.txt').write_text('mine')
    assert run_suite(suite, '-o', tmp_path / 'foreign') == 2
    assert 'is not empty and not of a suite' in capsys.readouterr().err
    assert (finished / 'summary.json').read_bytes() == before


@pytest.mark.usefixtures('in_process')
def test_a_recording_with_other_ground_truth_is_not_taken_for_done(drives, tmp_path):
    entry = {'path': str(drives / 'rainy')}
    model = {'model': str(drives / 'tiny.onnx')}
    suite = write_suite(tmp_path / 'suite.yaml', [entry], **model)
    assert run_suite(suite, '-o', tmp_path / 'out') == 0
    assert summary_of(tmp_path / 'out')['scores'] is None
    write_suite(suite, [entry | {'ground_truth': GT_TOPIC}], **model)
    assert run_suite(suite, '-o', tmp_path / 'out') == 1
    [failed] = summary_of(tmp_path / 'out')['failed']
    assert 'holds the results of another replay (there vs here: ground truth' in failed['error']


class TestWorker:
    """What a worker on another machine may lack; see `worker.replay_recording`."""

    @pytest.fixture
    def task(self, drives, tmp_path):
        (tmp_path / 'suite.json').write_text('{}')
        return {
            'recording': {'name': 'rainy', 'path': str(drives / 'rainy')},
            'model': str(drives / 'tiny.onnx'),
            'model_hash': '0' * 12,
            'config': '',
            'threads': 1,
            'on_cpu': True,
            'rate': None,
            'fetch_gb': 1.0,
            'results': str(tmp_path),
        }

    @pytest.mark.parametrize(
        ('change', 'error'),
        [
            (
                {'model': '/nowhere/city.onnx'},
                'has no model file /nowhere/city.onnx; put it where',
            ),
            ({}, 'has another model file .* instead of 000000000000'),
        ],
    )
    def test_without_the_model(self, task, change, error, tmp_path):
        found = worker.replay_recording(task | change)
        assert found['status'] == 'failed' and found['images'] == 0
        outcome = json.loads((tmp_path / 'outcomes' / 'rainy.json').read_text())
        assert outcome['error'] == found['error'] and outcome['timing']['host'] in found['error']

        assert re.search(error, found['error'])
        assert not (tmp_path / 'recordings' / 'rainy').exists()

    def test_that_meets_a_defect_of_the_program(self, task, monkeypatch):
        monkeypatch.setattr(worker, 'Session', lambda *args, **options: 1 / 0)
        found = worker.replay_recording(task)
        assert found['error'] == 'internal error, ZeroDivisionError: division by zero'
