# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate` with a model file; test/training/ has the tests with checkpoints."""

import json
from pathlib import Path

import pytest

import panoptic_ros
from panoptic_ros.cli.main import main

CITY = Path(panoptic_ros.__file__).parent / 'data/city.onnx'


@pytest.fixture(autouse=True)
def needs_training():
    pytest.importorskip('panoptic_training.data.registry')


def test_scores_are_printed_and_written(tmp_path, capsys):
    file = tmp_path / 'scores.json'
    assert (
        main(
            [
                'evaluate',
                '--model',
                str(CITY),
                '--data',
                'synthetic',
                '--limit',
                '2',
                '--split',
                'test',
                '--json',
                str(file),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    scores = json.loads(file.read_text())
    assert {key: scores[key] for key in ('data', 'split', 'images', 'backend', 'device')} == {
        'data': 'synthetic',
        'split': 'test',
        'images': 2,
        'backend': 'onnxruntime/cpu',
        'device': 'cpu',
    }
    assert scores['model'] == 'city' and len(scores['recipe_hash']) == 64
    assert [row['name'] for row in scores['per_class']][:2] == ['road', 'pavement']
    for kind in ('all', 'things', 'stuff'):
        assert 0 <= scores[kind]['pq'] <= 100 and set(scores[kind]) == {'pq', 'sq', 'rq', 'n'}
    assert 0 < scores['semantic']['miou'] <= 100
    assert f'All       | {scores["all"]["pq"]:5.1f}' in out
    assert f'mIoU {scores["semantic"]["miou"]:.1f}, 2 images' in out


def test_a_model_with_other_classes_is_refused(capsys, tiny_model):
    assert main(['evaluate', '--model', str(tiny_model), '--data', 'synthetic']) == 2
    err = capsys.readouterr().err
    assert 'has the classes floor, wall, ball, box; synthetic has road, pavement' in err
    assert err.count('\n') == 1


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (['--model', 'none.onnx', '--data', 'synthetic'], 'no model file at none.onnx'),
        (['--model', 'none.ckpt', '--data', 'synthetic'], 'no checkpoint at none.ckpt'),
        (
            ['--model', str(CITY), '--data', 'kitti'],
            "'kitti' is not a folder or a data set; did you mean kitti_step?; the data sets",
        ),
        (['--model', str(CITY), '--data', 'camvid:none'], "no folder of data 'camvid' at none"),
        (
            ['--model', str(CITY), '--data', 'synthetic', '--limit', '0'],
            "--limit must be a whole number of at least 1, got '0'",
        ),
        (
            ['--model', str(CITY), '--data', 'synthetic', '--json', 'none/scores.json'],
            '--json: no folder none',
        ),
        (['--model', str(CITY), '--data', 'synthetic', '--backend', 'abacus'], 'abacus'),
        (
            ['--model', 'x.ckpt', '--data', 'synthetic', '--backend', 'onnxruntime'],
            'a checkpoint is scored with torch; make a model file',
        ),
    ],
)
def test_errors_are_one_line(capsys, argv, reason):
    assert main(['evaluate', *argv]) == 2
    err = capsys.readouterr().err
    assert reason in err and err.count('\n') == 1


def test_a_file_that_is_not_a_checkpoint_is_refused(capsys, tmp_path):
    (tmp_path / 'x.ckpt').write_text('a: [')
    assert main(['evaluate', '--model', str(tmp_path / 'x.ckpt'), '--data', 'synthetic']) == 2
    assert 'x.ckpt is not a checkpoint of `panoptic train`' in capsys.readouterr().err
