# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate --debug-maps`: pictures of the inputs and the effect of PISR's block."""

from pathlib import Path

import cv2
import pytest
from checkpoints import write_checkpoint
from small_models import SMALL_CENTERS

import panoptic_ros
from panoptic_ros.cli.main import main

NETWORK = {
    'top_k': 12,
    'stride': 4,
    'center_threshold': 0.0,
    'block_channels': 16,
    'num_encodings': 6,
    **SMALL_CENTERS,
}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp('pisr') / 'some.ckpt', 'pisr', NETWORK)


def evaluate(model, *flags):
    return main(
        [
            'evaluate',
            '--model',
            str(model),
            '--data',
            'synthetic',
            '--limit',
            '2',
            '--worst',
            '2',
            *map(str, flags),
        ]
    )


def test_checkpoint_and_model_file_give_the_same_pictures(checkpoint, tmp_path):
    file = tmp_path / 'some.onnx'
    assert main(['export', '--checkpoint', str(checkpoint), '-o', str(file)]) == 0
    pictures_by_model = []
    for number, model in enumerate((checkpoint, file)):
        out = tmp_path / str(number)
        assert evaluate(model, '-o', out, '--debug-maps', 'car') == 0
        # They show the same images as `worst`.
        names = sorted(path.name for path in (out / 'debug_maps').iterdir())
        assert names == sorted(path.name for path in (out / 'worst').iterdir())
        assert len(names) == 2
        pictures = {
            path.name[3:]: cv2.imread(str(path)) for path in (out / 'debug_maps').iterdir()
        }
        assert all(p.shape[1] % 4 == 0 and p.std() > 0 for p in pictures.values())
        pictures_by_model.append(pictures)
    assert pictures_by_model[0].keys() == pictures_by_model[1].keys()
    for name, picture in pictures_by_model[0].items():
        assert abs(picture.astype(int) - pictures_by_model[1][name]).mean() < 1


@pytest.mark.parametrize(
    ('flags', 'problem'),
    [
        (('--debug-maps', 'car'), '--debug-maps needs a folder: -o'),
        (('--debug-maps', 'cow', '-o', 'out'), "unknown class 'cow'; the classes are: road, "),
    ],
)
def test_missing_flags_and_unknown_classes_are_reported(
    checkpoint, flags, problem, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert evaluate(checkpoint, *flags) == 2
    assert problem in capsys.readouterr().err


def test_other_families_have_no_debug_maps(tmp_path, capsys):
    city = Path(panoptic_ros.__file__).parent / 'data/city.onnx'
    assert evaluate(city, '-o', tmp_path / 'out', '--debug-maps', 'car') == 2
    assert 'need a model of family pisr with enabled: true, got hle' in capsys.readouterr().err
