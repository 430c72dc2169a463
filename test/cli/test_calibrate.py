# SPDX-License-Identifier: Apache-2.0
"""`panoptic calibrate`."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_data import make_data
from tiny_model import tiny_graph, tiny_info

from panoptic_ros.cli.calibrate import print_fits
from panoptic_ros.cli.main import main
from panoptic_ros.core.model_file import (
    load_onnx,
    read_info,
    reference_from_onnx,
    write_model_file,
)
from panoptic_ros.core.model_info import Scaling

pytest.importorskip('panoptic_training.data.registry')

from panoptic_training.calibration import Fit, Outcomes, bins_of


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('data'), 8)


def run(model, data, output, *more):
    return main(['calibrate', str(model), '--data', f'coco:{data}', '-o', str(output), *more])


def test_a_file_is_calibrated(tiny_model, data, tmp_path, capsys):
    output, plot = tmp_path / 'new.onnx', tmp_path / 'plot.png'
    pytest.importorskip('matplotlib')
    assert run(tiny_model, data, output, '--plot', str(plot)) == 0
    out = capsys.readouterr().out
    assert out.endswith(f'calibrated; saved to {output} and {plot}\n')
    info, before = read_info(output), read_info(tiny_model)
    assert info.calibration and info.name == 'new'
    for name, scaling in info.calibration.items():
        row = next(
            line.split()
            for line in out.splitlines()
            if line.startswith({'score': 'segments', 'confidence': 'pixels'}[name])
        )
        errors = [float(word[:-1]) for word in row if word.endswith('%')]
        assert errors[1] < errors[0]
        assert [float(v) for v in row[-2:]] == pytest.approx(
            [scaling.temperature, scaling.shift], abs=0.01
        )
    assert replace(info, name=before.name, calibration={}, thresholds=before.thresholds) == before
    assert reference_from_onnx(load_onnx(output), info, output) is not None
    assert plot.read_bytes().startswith(b'\x89PNG')
    assert run(output, data, tmp_path / 'again.onnx') == 2
    assert 'is calibrated already' in capsys.readouterr().err


def test_a_scaling_at_a_limit_is_reported(capsys):
    bins = bins_of(Outcomes(*np.full((3, 2), 0.5)))
    print_fits({'score': Fit(Scaling(0.2, 1.0), bins, bins)})
    assert 'warning: the scaling of the segments ended at a limit' in capsys.readouterr().out
    print_fits({'score': Fit(Scaling(0.7, 1.0), bins, bins)})
    assert 'warning' not in capsys.readouterr().out


def constant_model(path):
    """The tiny model with one score and one confidence."""
    info = tiny_info()
    model = tiny_graph(info)
    for tensor in model.graph.initializer:
        values = np.frombuffer(tensor.raw_data, np.float32) if tensor.data_type == 1 else None
        if values is not None and values.size == 6 and values[0] == np.float32(0.9):
            tensor.raw_data = np.full(6, 0.9, np.float32).tobytes()
        if tensor.data_type == 6 and list(tensor.dims) == [7]:
            ids = np.frombuffer(tensor.raw_data, np.int32)
            if ids[0] == 0:
                tensor.raw_data = np.array([0, *[200] * 6], np.int32).tobytes()
    write_model_file(model, info, path)
    return path


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ('other classes', 'calibrate with data that has those of the model'),
        ('no images', 'val'),
        ('one image', 'has 1 image in its split val, expected at least 2'),
        ('constant', 'have the score 0.9'),
        ('not a model', '.onnx'),
        ('plot', 'expected a name in .png'),
    ],
)
def test_mistakes_are_one_line(tiny_model, tmp_path, capsys, change, reason):
    folder, output, model = make_data(tmp_path / 'data', 4), tmp_path / 'new.onnx', tiny_model
    path = folder / 'val.json'
    values = json.loads(path.read_text())
    more = []
    if change == 'other classes':
        path.write_text(path.read_text().replace('"ball"', '"bowl"'))
    elif change.endswith('images') or change == 'one image':
        n = 1 if change == 'one image' else 0
        path.write_text(
            json.dumps(
                values | {'images': values['images'][:n], 'annotations': values['annotations'][:n]}
            )
        )
    elif change == 'constant':
        model = constant_model(tmp_path / 'constant.onnx')
    elif change == 'plot':
        more = ['--plot', str(tmp_path / 'plot.jpg')]
    else:
        output = tmp_path / 'new.pt'
    assert run(model, folder, output, *more) == 2
    error = capsys.readouterr().err
    assert error.startswith('panoptic: error: ') and error.count('\n') == 1
    assert reason in error
    assert not output.exists()


def test_a_calibration_that_does_not_help_writes_nothing(
    tiny_model, data, tmp_path, capsys, monkeypatch
):
    from panoptic_training.calibration import Fit

    monkeypatch.setattr(Fit, 'is_better', False)
    output = tmp_path / 'new.onnx'
    assert run(tiny_model, data, output) == 2
    assert 'the error of the segments gets no smaller' in capsys.readouterr().err
    assert not output.exists()


def test_least_scores_are_in_calibrated_units(tiny_model, data, tmp_path, capsys):
    output = tmp_path / 'new.onnx'
    assert run(tiny_model, data, output, '--unknown', 'ball=0.7', 'BOX=0.5') == 0
    info = read_info(output)
    assert info.unknown == {'ball': 0.7, 'box': 0.5} and info.labels.names[-1] == 'unknown'
    capsys.readouterr()
    assert main(['evaluate', '--model', str(output), '--data', f'coco:{data}']) == 0
    assert 'PQ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('word', 'reason'),
    [
        ('bal=0.5', "unknown class 'bal'"),
        ('ball', "must be CLASS=SCORE, got 'ball'"),
        ('=0.5', 'must be CLASS=SCORE'),
        ('ball=2', 'of at least 0 and at most 1'),
        ('ball=high', 'must be a number'),
    ],
)
def test_bad_least_scores_are_one_line(tiny_model, data, tmp_path, capsys, word, reason):
    output = tmp_path / 'new.onnx'
    assert run(tiny_model, data, output, '--unknown', word) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count('\n') == 1
    assert not output.exists()


def test_unknown_segments_are_void_in_scores(tiny_model, data, tmp_path, capsys):
    """A withheld class is neither right nor wrong: its segment is missed."""
    scores = []
    for name, least in (('all', {}), ('none', {'ball': 1.0})):
        info = read_info(tiny_model).with_unknown(least)
        path, table = tmp_path / f'{name}.onnx', tmp_path / f'{name}.json'
        write_model_file(load_onnx(tiny_model), info, path)
        argv = ['--model', str(path), '--data', f'coco:{data}', '--json', str(table)]
        assert main(['evaluate', *argv, '-o', str(tmp_path / name)]) == 0
        scores.append({row['name']: row for row in json.loads(table.read_text())['per_class']})
    before, after = scores
    ball = after['ball']
    assert ball['tp'] == ball['fp'] == 0
    assert ball['fn'] == before['ball']['tp'] + before['ball']['fn']
    for name in ('wall', 'floor', 'box'):
        assert after[name] == before[name]
    assert list(after) == list(before)
