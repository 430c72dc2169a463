# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate -o` and `--predictions`: files of the results, and resuming after a kill."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from tiny_data import SIZE, make_data, true_ids
from tiny_model import LABELS

from panoptic_ros.cli.main import main
from panoptic_ros.core.captions import style_for

RESULTS = ('scores.json', 'per_class.csv', 'images.csv', 'predictions.json')


@pytest.fixture(autouse=True)
def needs_training():
    pytest.importorskip('panoptic_training.data.registry')


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / 'data')


def evaluate(*flags):
    assert main(['evaluate', *map(str, flags)]) == 0


def results(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


def test_all_results_are_in_the_folder(tmp_path, data, tiny_model, capsys):
    out = tmp_path / 'out'
    evaluate('--model', tiny_model, '--data', f'coco:{data}', '-o', out, '--worst', 2)
    scores = json.loads((out / 'scores.json').read_text())
    assert (scores['model'], scores['images']) == ('tiny', 4)
    assert f'All       | {scores["all"]["pq"]:5.1f}' in capsys.readouterr().out
    with (out / 'per_class.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['name'] for row in rows] == list(LABELS.names)
    assert [float(row['pq']) for row in rows] == [row['pq'] for row in scores['per_class']]
    assert rows[0]['ap'] == '' and float(rows[2]['ap']) > 0
    with (out / 'images.csv').open() as file:
        images = list(csv.DictReader(file))
    assert [row['image'] for row in images] == [f'scene{i}.png' for i in range(4)]
    pq = [float(row['pq']) for row in images]
    assert pq[0] == 100 and sorted(pq, reverse=True) == pq
    assert sum(int(row['tp']) for row in images) == sum(c['tp'] for c in scores['per_class'])
    worst = sorted(path.name for path in (out / 'worst').iterdir())
    assert worst == ['01_scene3.jpg', '02_scene2.jpg']
    listed = json.loads((out / 'predictions.json').read_text())
    assert [(one['id'], one['file_name']) for one in listed['images']] == [
        (100 + i, f'scene{i}.png') for i in range(4)
    ]
    assert sorted(path.name for path in (out / 'predictions').iterdir()) == [
        f'scene{i}.png' for i in range(4)
    ]
    assert not (out / 'submission').exists()  # these are not COCO's own photos
    picture = cv2.imread(str(out / 'worst' / worst[0]))
    line = style_for(
        2 * 400, 2 * 800
    ).line_px  # title, captions and legend around three panels of 2:1
    assert picture.shape == (400 + 3 * line, 3 * 800, 3)


def test_written_predictions_have_the_same_scores(tmp_path, data, tiny_model):
    """`--predictions` and, without confidence scores, `panoptic score` read the written files."""
    evaluate('--model', tiny_model, '--data', f'coco:{data}', '-o', tmp_path / 'out')
    scores = json.loads((tmp_path / 'out/scores.json').read_text())
    for path in ('out', 'out/predictions', 'out/predictions.json'):
        evaluate(
            '--predictions',
            tmp_path / path,
            '--data',
            f'coco:{data}',
            '--json',
            tmp_path / 'again.json',
        )
        again = json.loads((tmp_path / 'again.json').read_text())
        assert 'model' not in again and again['predictions'] == str(tmp_path / path)
        for key in ('all', 'things', 'stuff', 'per_class', 'semantic', 'average_precision'):
            assert again[key] == scores[key]
    assert (
        main(
            [
                'score',
                '--gt_json_file',
                str(data / 'val.json'),
                '--gt_folder',
                str(data / 'panoptic_val'),
                '--pred_json_file',
                str(tmp_path / 'out/predictions.json'),
                '--json',
                str(tmp_path / 'score.json'),
            ]
        )
        == 0
    )
    assert json.loads((tmp_path / 'score.json').read_text())['all'] == scores['all']


def test_a_resumed_evaluation_predicts_no_image_twice(
    tmp_path, data, tiny_model, capsys, monkeypatch
):
    from panoptic_ros.runtime.predictor import Predictor

    calls, predict = [], Predictor.predict
    monkeypatch.setattr(
        Predictor, 'predict', lambda *args, **kwargs: calls.append(1) or predict(*args, **kwargs)
    )
    command = ['--model', tiny_model, '--data', f'coco:{data}', '-o']
    evaluate(*command, tmp_path / 'at_once')
    assert len(calls) == 4
    evaluate(*command, tmp_path / 'parts', '--limit', 3)
    assert len(calls) == 7
    capsys.readouterr()
    evaluate(*command, tmp_path / 'parts')
    assert len(calls) == 8
    assert 'resuming, 3 images predicted earlier' in capsys.readouterr().err
    assert results(tmp_path / 'parts') == results(tmp_path / 'at_once')
    assert {p.name: p.read_bytes() for p in (tmp_path / 'parts/worst').iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / 'at_once/worst').iterdir()
    }


def test_an_evaluation_resumes_after_a_kill(tmp_path, slow_model):
    data, killed, at_once = make_data(tmp_path / 'data', 24), tmp_path / 'a', tmp_path / 'b'
    command = [
        'evaluate',
        '--model',
        str(slow_model),
        '--data',
        f'coco:{data}',
        '--worst',
        '0',
        '-o',
    ]
    process = subprocess.Popen(
        [sys.executable, '-m', 'panoptic_ros.cli.main', *command, str(killed)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    predictions, end = killed / 'predictions.json', time.monotonic() + 120
    try:
        while (
            not predictions.is_file()
            or len(json.loads(predictions.read_text())['annotations']) < 3
        ):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 3 <= len(json.loads(predictions.read_text())['annotations']) < 24
    assert not (killed / 'scores.json').exists()
    assert main([*command, str(killed)]) == main([*command, str(at_once)]) == 0
    assert results(killed) == results(at_once)


def test_a_folder_belongs_to_one_evaluation(tmp_path, data, tiny_model, slow_model, capsys):
    out = tmp_path / 'out'
    evaluate('--model', tiny_model, '--data', f'coco:{data}', '--limit', 1, '-o', out)
    kept = results(out)
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/letters.txt').touch()
    for flags, reason in (
        (['--model', slow_model, '-o', out], 'holds the evaluation of another model'),
        (['--predictions', out, '-o', out], 'would change the input folder'),
        (
            ['--model', tiny_model, '--backend', 'onnxruntime', '-o', tmp_path / 'full'],
            'is not empty and not of an evaluation',
        ),
    ):
        capsys.readouterr()
        assert main(['evaluate', '--data', f'coco:{data}', *map(str, flags)]) == 2
        err = capsys.readouterr().err
        assert reason in err and err.count('\n') == 1
    assert results(out) == kept


def test_pngs_of_ids_are_predictions(tmp_path, data, capsys):
    """The truth as category * 1000 + instance has PQ 100; without scores there is no AP."""
    (tmp_path / 'other').mkdir()
    for i in range(4):
        ids = np.array([0, 11, 7, 24001, 26001], np.uint16)[true_ids(2 * i)]
        cv2.imwrite(str(tmp_path / f'other/scene{i}.png'), ids)
    evaluate(
        '--predictions',
        tmp_path / 'other',
        '--data',
        f'coco:{data}',
        '--json',
        tmp_path / 'scores.json',
        '-o',
        tmp_path / 'out',
    )
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert scores['all'] == {'pq': 100, 'sq': 100, 'rq': 100, 'n': 4}
    assert scores['semantic']['miou'] == 100 and 'average_precision' not in scores
    assert not (tmp_path / 'out/predictions').exists()


def break_size(folder):
    cv2.imwrite(str(folder / 'scene0.png'), np.full((4, 4), 7, np.uint16))


def break_colour(folder):
    cv2.imwrite(str(folder / 'scene0.png'), np.full((*SIZE, 3), 7, np.uint8))


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        (lambda folder: None, 'no prediction'),
        (break_size, 'is 4 x 4, its image 64 x 128'),
        (break_colour, 'PNGs in colour need their JSON file'),
        (shutil.rmtree, 'no JSON file or folder of predictions at'),
    ],
)
def test_errors_of_predictions_are_one_line(tmp_path, data, capsys, damage, reason):
    folder = tmp_path / 'other'
    folder.mkdir()
    (folder / 'other.png').touch()
    damage(folder)
    assert main(['evaluate', '--predictions', str(folder), '--data', f'coco:{data}']) == 2
    err = capsys.readouterr().err
    assert reason in err and err.count('\n') == 1


@pytest.mark.parametrize(
    ('flags', 'reason'),
    [
        (['--predictions', 'x', '--oracle'], '--oracle needs a --model'),
        (['--predictions', 'x', '--model', 'y'], 'not allowed with argument'),
        (
            ['--model', 'x', '--worst', '-1'],
            "--worst must be a whole number of at least 0, got '-1'",
        ),
        (['--model', 'x', '-o', f'{__file__}/out'], '--output must be a folder, and'),
    ],
)
def test_flags_are_checked(capsys, flags, reason):
    assert main(['evaluate', '--data', 'synthetic', *flags]) == 2
    assert reason in capsys.readouterr().err


def test_two_processes_give_the_same_files(tmp_path, data, tiny_model):
    flags = ('--model', tiny_model, '--data', f'coco:{data}')
    evaluate(*flags, '-o', tmp_path / 'one')
    evaluate(*flags, '-o', tmp_path / 'two', '--processes', 2)
    assert results(tmp_path / 'one') == results(tmp_path / 'two')
    assert not (tmp_path / 'two/shares').exists()


def test_shares_of_processes_that_were_killed_are_used(tmp_path, data, tiny_model, monkeypatch):
    """The predictions of one process are there, and the others are predicted by two."""
    from panoptic_training.evaluation import shares

    out, flags = tmp_path / 'out', ('--model', tiny_model, '--data', f'coco:{data}')
    job = shares.Job(f'coco:{data}', 'val', tiny_model)
    affinity = os.sched_getaffinity(0)
    shares._predict(job, [(1, 2)], out / 'shares/0', 0, 1)
    os.sched_setaffinity(0, affinity)
    (tmp_path / 'whole').mkdir()
    evaluate(*flags, '-o', tmp_path / 'whole')
    shutil.move(tmp_path / 'whole/evaluate.json', out / 'evaluate.json')  # the same evaluation
    asked = []
    monkeypatch.setattr(shares, 'divide', lambda parts, *rest: asked.append(parts) or [])
    monkeypatch.setattr(shares, 'wait', None)  # no process has to be waited for
    evaluate(*flags, '-o', out, '--processes', 2)
    assert asked == [[(0, 3)]]
    assert results(out) == results(tmp_path / 'whole')


@pytest.mark.slow
def test_a_process_that_fails_is_one_line(tmp_path, data, tiny_model, capsys):
    flags = ('--model', tiny_model, '--data', f'coco:{data}', '-o', tmp_path / 'out')
    picture = data / 'val/scene2.png'
    picture.write_bytes(picture.read_bytes()[:-200])
    words = ['evaluate', *map(str, flags), '--processes', '2']
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('panoptic: error: ') and 'scene2.png' in error


@pytest.mark.parametrize('extra', [[], ['--predictions', 'p.json']])
def test_processes_need_a_model_and_a_folder(data, tiny_model, extra, capsys):
    flags = extra or ['--model', str(tiny_model)]
    assert main(['evaluate', *flags, '--data', f'coco:{data}', '--processes', '2']) == 2
    assert '--processes needs a --model and a folder: -o' in capsys.readouterr().err
