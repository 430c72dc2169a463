# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate-tracking` and `panoptic tune-tracker` on two short clips."""

import json
from pathlib import Path

import pytest

import panoptic_ros
from panoptic_ros.cli.main import main

CITY = Path(panoptic_ros.__file__).parent / 'data/city.onnx'


@pytest.fixture(autouse=True)
def needs_training():
    pytest.importorskip('torch')


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """Folder in which both commands keep the model's output, for all tests of this file."""
    return tmp_path_factory.mktemp('cache')


TRACKER_ROWS = (
    'default',
    'with camera motion',
    'without embeddings',
    'IoU only',
    'with depth and odometry',
    'ground truth ids',
)


def clips(cache):
    return ['--split', 'val', '--clips', '2', '--frames', '6', '--cache', str(cache)]


def test_trackers_are_compared_and_the_model_runs_only_once(cache, tmp_path, capsys):
    file = tmp_path / 'scores.json'
    argv = ['evaluate-tracking', *clips(cache), '--steps', '1', '2', '--json', str(file)]
    assert main(argv) == 0
    out = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert (result['clips'], result['frames'], result['split']) == (2, 6, 'val')
    rows = [(row['clips'], row['tracker'], row['step']) for row in result['scores']]
    assert rows[:3] == [('all', 'default', 1), ('crowded', 'default', 1), ('sparse', 'default', 1)]
    groups = {'all', 'crowded', 'sparse', 'driving'}  # both cameras drive
    assert {group for group, *_ in rows} == groups
    assert len(set(rows)) == len(rows) == len(groups) * len(TRACKER_ROWS) * 2
    for name in TRACKER_ROWS:
        assert f'| {name} | 2 |' in out
    votes = [(row['camera'], row['step'], row['vote']) for row in result['stuff_votes']]
    assert len(set(votes)) == len(votes) and len(votes) % (2 * 3) == 0
    assert sum(row['clips'] for row in result['stuff_votes']) == 2 * 2 * 3
    assert all(60 < row['sq'] < 100 for row in result['stuff_votes'])
    assert '| on, with camera motion |' in out
    assert '| frames later | recall@1 | by chance | queries |' in out
    assert [s['gap'] for s in result['embedding_retrieval']] == [1, 2, 5, 10, 20]

    files = sorted(cache.rglob('*.npz'))
    stamps = [f.stat().st_mtime_ns for f in files]
    assert len(files) == 2
    assert main(argv) == 0
    assert capsys.readouterr().out == out
    assert [f.stat().st_mtime_ns for f in files] == stamps


def test_the_tuner_prints_parameters_that_the_tracker_takes(cache, capsys):
    pytest.importorskip('optuna')
    import yaml

    from panoptic_ros.tracking import TrackerConfig

    assert main(['tune-tracker', *clips(cache), '--tracker', 'IoU only', '--trials', '2']) == 0
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.startswith('IoU only: ') and last.startswith('best of 2 trials; saved to ')
    values = yaml.safe_load('\n'.join(lines))
    assert {'max_age', 'match_threshold', 'velocity_time_constant'} <= set(values)
    TrackerConfig(**values)


def test_a_model_of_other_classes_is_refused(capsys, tiny_model, tmp_path):
    assert main(['evaluate-tracking', '--model', str(tiny_model), *clips(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert 'has the classes floor, wall, ball, box; the city has road, pavement' in err
    assert err.count('\n') == 1


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (['evaluate-tracking', '--model', 'none.onnx'], 'no model file at none.onnx'),
        (
            ['evaluate-tracking', '--clips', '0'],
            "--clips must be a whole number of at least 1, got '0'",
        ),
        (
            ['evaluate-tracking', '--frames', '0'],
            "--frames must be a whole number of at least 1, got '0'",
        ),
        (
            ['evaluate-tracking', '--steps', '0'],
            "--steps must be a whole number of at least 1, got '0'",
        ),
        (['evaluate-tracking', '--json', 'none/scores.json'], '--json: no folder none'),
        (
            ['tune-tracker', '--trials', '0'],
            "--trials must be a whole number of at least 1, got '0'",
        ),
        (['tune-tracker', '--tracker', 'ours'], 'got ours (now called default)'),
        (
            ['tune-tracker', '--tracker', 'theirs'],
            '--tracker must be one of default, with camera motion, without embeddings',
        ),
    ],
)
def test_mistakes_are_one_line(capsys, argv, reason):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert reason in err and err.count('\n') == 1


def test_a_broken_clip_is_named(cache, capsys, tmp_path):
    good = sorted(cache.rglob('*.npz')) or pytest.fail('the first test of this file leaves clips')
    folder = tmp_path / good[0].parent.name
    folder.mkdir()
    for file in good:
        (folder / file.name).write_bytes(b'PK')
    assert main(['evaluate-tracking', *clips(tmp_path)]) == 2
    assert 'is not a recorded clip; delete it' in capsys.readouterr().err
