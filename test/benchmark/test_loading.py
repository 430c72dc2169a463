# SPDX-License-Identifier: Apache-2.0
"""Rates of data loading against those of training steps."""

import json

import pytest
from tiny_training import RECIPE

from panoptic_ros.benchmark.loading import LoadingTimes
from panoptic_ros.cli.main import main


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / 'tiny.yaml'
    path.write_text(RECIPE.replace('length: 8', 'length: 16'))
    return path


def test_a_recipe_is_timed(recipe, tmp_path, capsys):
    out = tmp_path / 'times.json'
    words = ['benchmark', '--loading', str(recipe), '--seconds', '0.1', '--json', str(out)]
    assert main(words) == 0
    (record,) = json.loads(out.read_text())
    assert record['worker_hz'] > 0 and record['model_hz'] > 0 and record['batch'] == 2
    assert record['workers'] >= 1 and not record['problem']
    assert 'workers needed' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('worker_hz', 'model_hz', 'workers'), [(10, 25, 3), (10, 20, 2), (50, 1, 1)]
)
def test_workers_that_are_needed(worker_hz, model_hz, workers):
    times = LoadingTimes('a', 'cpu', 2, worker_hz, model_hz)
    assert times.workers == workers


def test_a_recipe_whose_data_are_missing_says_so(tmp_path, capsys):
    out = tmp_path / 'times.json'
    words = ['benchmark', '--loading', 'hle_resnet50_coco', '--seconds', '0.1', '--json', str(out)]
    assert main(words) == 0
    (record,) = json.loads(out.read_text())
    assert 'coco' in record['problem'] and record['workers'] is None


def test_it_stands_alone(capsys):
    assert main(['benchmark', '--loading', '--metrics']) == 2
    assert capsys.readouterr().err.startswith('panoptic: error: --loading times recipes')
