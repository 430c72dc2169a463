# SPDX-License-Identifier: Apache-2.0
"""Folders of results that exist already, and replays that are refused."""

import json
import os
from pathlib import Path

import pytest
from replay_bags import GT_TOPIC
from replay_runs import run, summary

pytest.importorskip('matplotlib', reason='reports are drawn by it')


@pytest.fixture(scope='module')
def finished(tmp_path_factory, bag, tiny_model):
    """Folder of a finished replay; not to be changed."""
    folder = tmp_path_factory.mktemp('finished') / 'out'
    assert run(bag, '--model', tiny_model, '--duration', 0.3, '-o', folder) == 0
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize(
    ('flags', 'differing'),
    [
        (['--model', 'slow'], 'model hash: '),
        (['--duration', '0.5'], 'duration, s: 0.3 vs 0.5'),
        (['--gt', GT_TOPIC], 'ground truth: - vs camera: topic '),
        (['--config', 'node.yaml'], 'min_area: '),
    ],
)
def test_a_finished_replay_of_something_else_is_kept(
    tmp_path, finished, bag, tiny_model, slow_model, capsys, monkeypatch, flags, differing
):
    monkeypatch.chdir(tmp_path)
    settings = {'/**': {'ros__parameters': {'min_area': 77}}}
    (tmp_path / 'node.yaml').write_text(json.dumps(settings))
    before = contents(finished)
    given = {'--model': tiny_model, '--duration': 0.3}
    given |= {flags[0]: {'slow': slow_model}.get(flags[1], flags[1])}
    words = [word for pair in given.items() for word in pair]
    capsys.readouterr()
    assert run(bag, *words, '-o', finished) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'holds the results of another replay (there vs here: ' in error
    assert differing in error and 'choose another folder' in error
    assert contents(finished) == before


def test_a_replay_replaces_its_own_earlier_results(tmp_path, bag, tiny_model, monkeypatch, capsys):
    flags = ['--model', tiny_model, '--duration', 0.1, '-o', tmp_path / 'out']
    assert run(bag, *flags) == 0
    (tmp_path / 'out' / 'overlay.mp4').unlink()
    monkeypatch.chdir(tmp_path)
    assert run(os.path.relpath(bag), *flags) == 0
    assert (tmp_path / 'out' / 'overlay.mp4').exists()
    assert summary(tmp_path / 'out')['source'] == str(bag.resolve())


@pytest.mark.parametrize(
    'text', ['{"settings": [1]}', '{"settings": {}, "cameras": 3}', '{"settings": {}}']
)
def test_a_damaged_summary_is_kept(tmp_path, bag, tiny_model, capsys, text):
    (tmp_path / 'summary.json').write_text(text)
    assert run(bag, '--model', tiny_model, '-o', tmp_path) == 2
    assert 'choose another folder' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['summary.json']


@pytest.mark.parametrize(
    'flags',
    [
        ('--config', __file__),
        ('--gt', '/no/topic'),
        ('--image', '/no/topic'),
        ('--start', '1000'),
        ('--model', __file__),
    ],
)
def test_a_refused_replay_leaves_nothing(tmp_path, bag, tiny_model, flags):
    given = ['--model', tiny_model, *flags]
    assert run(bag, *given, '-o', tmp_path / 'new' / 'out') == 2
    assert list(tmp_path.iterdir()) == []
