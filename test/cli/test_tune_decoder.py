# SPDX-License-Identifier: Apache-2.0
"""`panoptic tune-decoder`, and `panoptic evaluate --set` with what it finds."""

import json
import re

import pytest
from tiny_data import make_data

from panoptic_ros.cli.main import main

pytest.importorskip('optuna')


@pytest.fixture
def data(tmp_path):
    return f'coco:{make_data(tmp_path / "data", 6)}'


def run(command, *flags):
    return main([command, *map(str, flags)])


def test_thresholds_are_found_printed_and_taken_by_evaluate(tmp_path, tiny_model, data, capsys):
    out, common = tmp_path / 'tuned', ('--model', tiny_model, '--data', data)
    assert run('tune-decoder', *common, '--images', '::2', '--trials', 4, '-o', out) == 0
    text = capsys.readouterr().out
    found = json.loads((out / 'thresholds.json').read_text())
    assert found['thresholds'].keys() == {'score_threshold', 'min_area'}
    assert found['trials'] == 4 and f'PQ {found["pq"]:.1f} on the 3 images of the search' in text
    words = next(line for line in text.splitlines() if line.startswith('--set ')).split()[1:]

    scores = tmp_path / 'scores.json'
    assert run('evaluate', *common, '--images', '::2', '--set', *words, '--json', scores) == 0
    scored = json.loads(scores.read_text())
    assert scored['all']['pq'] == pytest.approx(found['pq'])
    assert scored['thresholds'] == pytest.approx(found['thresholds'])


def test_a_folder_of_another_search_is_refused(tmp_path, tiny_model, data, capsys):
    flags = ('--model', tiny_model, '--data', data, '--trials', 1, '-o', tmp_path / 'tuned')
    assert run('tune-decoder', *flags, '--images', '::2') == 0
    assert run('tune-decoder', *flags, '--images', '1::2') == 2
    assert 'holds the decoder search of another images' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--images', '9:'], '--images leaves none of the 6 images'),
        (['--images', 'x'], '--images must be START:STOP:STEP'),
        (['--trials', '0'], '--trials must be a whole number of at least 1'),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path, tiny_model, data, capsys, flags, message):
    out = tmp_path / 'tuned'
    assert run('tune-decoder', '--model', tiny_model, '--data', data, '-o', out, *flags) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_model_of_other_classes_is_refused(tmp_path, tiny_model, capsys):
    flags = ('--model', tiny_model, '--data', 'synthetic', '-o', tmp_path / 'tuned')
    assert run('tune-decoder', *flags) == 2
    assert "class 0 is 'floor' (stuff) in" in capsys.readouterr().err


def test_other_thresholds_change_what_is_found(tmp_path, tiny_model, data):
    common = ('--model', tiny_model, '--data', data, '--json', tmp_path / 'scores.json')
    found = []
    for words in ((), ('--set', 'score_threshold=0.99')):
        assert run('evaluate', *common, *words) == 0
        found.append(json.loads((tmp_path / 'scores.json').read_text())['all']['pq'])
    assert found[0] > 50 and found[1] == 0


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('score_treshold=0.5', 'no threshold .score_treshold.; did you mean score_threshold.'),
        ('score_threshold=2', 'score_threshold must be 0 to 1, got 2'),
        ('score_threshold=high', "score_threshold must be 0 to 1, got 'high'"),
        ('score_threshold', "--set takes KEY=VALUE, got 'score_threshold'"),
    ],
)
def test_a_threshold_that_the_model_does_not_have_is_refused(
    tiny_model, data, capsys, word, message
):
    assert run('evaluate', '--model', tiny_model, '--data', data, '--set', word) == 2
    assert re.search(message, capsys.readouterr().err)
