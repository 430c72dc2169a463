# SPDX-License-Identifier: Apache-2.0
"""The package's own model: module, file and a new export give the same on trained weights."""

from pathlib import Path

import numpy as np
import pytest
from graphs import run_eager, run_onnx

import panoptic_ros
from panoptic_ros.cli.export import load_model
from panoptic_ros.core.model_file import load_onnx, read_info, reference_from_onnx
from panoptic_ros.core.reference import reference_to_text
from panoptic_ros.models.registry import build
from panoptic_ros.runtime import open_backend
from panoptic_ros.runtime.self_check import check_answer
from panoptic_ros.runtime.torch_backend import load_weights
from panoptic_training.data.synthetic import VAL_SEEDS, SyntheticClip
from panoptic_training.export import export_model

MODEL = Path(panoptic_ros.__file__).parent / 'data/city.onnx'
FEW = 2
"""Rows for instances in the new export; streets with more are looked for."""


@pytest.fixture(scope='module')
def new_export(tmp_path_factory):
    """The package's model at stride 4, another input size and with few rows."""
    path = tmp_path_factory.mktemp('models') / 'again.onnx'
    export_model(load_model(MODEL)[0], path, (192, 320), name='again', stride=4, top_k=FEW)
    return path


def scores_of(out, labels):
    """Scores of the instances found, highest first."""
    found = out['valid'] & labels.is_thing[out['class_id']]
    return np.sort(out['score'][found])[::-1]


def crowded_street(path):
    """A frame of the model's size on which it finds more than FEW instances if it has rows."""
    info = read_info(path)
    wide = build(info.family, info.labels, **{**info.config, 'top_k': 64})
    load_weights(wide, path)
    wide.eval()
    for seed in VAL_SEEDS[:20]:
        image = SyntheticClip(seed, info.input_size).frame(5).image
        scores = scores_of(run_eager(wide, image, {}), info.labels)
        if len(scores) > FEW and scores[0] > scores[1]:
            return image, float(scores[0] + scores[1]) / 2
    raise AssertionError(f'the model finds more than {FEW} things in none of 20 streets')


@pytest.mark.parametrize('packaged', [True, False], ids=['as packaged', 'exported again'])
def test_module_and_graph_agree_without_one_and_with_many_instances(request, packaged):
    path = MODEL if packaged else request.getfixturevalue('new_export')
    module, info = load_model(path)
    module.eval()
    image, between = crowded_street(path)
    counts = []
    for thresholds in ({'score_threshold': 1.0}, {'score_threshold': between}, {}):
        expected = run_eager(module, image, thresholds)
        found = run_onnx(path, image, thresholds)
        # A cell more or less in a mask, by rounding, would change a row of the table.
        assert (found['segment_map'] == expected['segment_map']).mean() >= 0.999
        assert (found['valid'] == expected['valid']).all()
        counts.append(len(scores_of(expected, info.labels)))
    assert counts[:2] == [0, 1]
    assert counts[2] > FEW if packaged else 1 <= counts[2] <= FEW, 'no more than rows'


def test_the_new_export_holds_a_street_with_cars_as_reference(new_export):
    info = read_info(new_export)
    reference = reference_from_onnx(load_onnx(new_export), info, new_export)
    cars = reference.class_of[1:] == info.labels.names.index('car')
    assert cars.sum() == 2 and len(reference_to_text(reference)) < 10_000
    backend = open_backend(new_export, 'torch/eager', 'cpu')
    shares = check_answer(backend, info, reference, new_export)
    assert shares == (pytest.approx(1, abs=1e-3), 1)


def test_the_new_export_is_of_the_settings_asked_for(new_export):
    info, own = read_info(new_export), read_info(MODEL)
    assert (info.stride, info.input_size, info.config['top_k']) == (4, (192, 320), FEW)
    kept = set(own.config) - {'stride', 'top_k'}
    assert {key: info.config[key] for key in kept} == {key: own.config[key] for key in kept}
    assert info.labels == own.labels
