# SPDX-License-Identifier: Apache-2.0
"""Search of a model's thresholds."""

import pytest
from tiny_data import make_data

from panoptic_ros.runtime.load import load
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.data.registry import open_reader
from panoptic_training.decoder_tuning import space_of, tune

pytest.importorskip('optuna')


@pytest.fixture
def samples(tmp_path):
    reader = open_reader(f'coco:{make_data(tmp_path / "data", 4)}', 'val')
    return [reader.read(index, 0) for index in range(4)]


def with_thresholds(path, **values):
    predictor = load(path, 'onnxruntime', 'cpu')
    return Predictor(predictor.backend, predictor.info.with_thresholds(values))


def test_ranges_are_of_probabilities_and_of_areas(tiny_model):
    space = space_of(with_thresholds(tiny_model).info)
    assert space['score_threshold'] == (0.02, 0.98, False)
    assert space['min_area'] == (1, 0.01 * 64 * 128, True)


def test_the_search_starts_from_the_model_and_finds_better_thresholds(
    tmp_path, tiny_model, samples
):
    predictor = with_thresholds(tiny_model, score_threshold=0.97, min_area=50)
    found = list(tune(predictor, samples, tmp_path / 'trials.db', 30))
    first, last = found[0], found[-1]
    # No segment has a score of 0.97.
    assert first.thresholds == {'score_threshold': 0.97, 'min_area': 50} and first.pq == 0
    # The scores of the segments in the scenes are 0.65 and up.
    assert last.thresholds['score_threshold'] < 0.65 and last.pq > 70


def test_an_interrupted_search_resumes(tmp_path, tiny_model, samples):
    predictor, database = with_thresholds(tiny_model), tmp_path / 'trials.db'
    first = list(tune(predictor, samples, database, 2))
    assert len(first) == 2
    again = list(tune(predictor, samples, database, 3))
    assert len(again) == 3 and again[0] == again[1] == first[1]
