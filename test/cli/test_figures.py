# SPDX-License-Identifier: Apache-2.0
"""`panoptic figures`: the figures of a model's family, and errors of one line."""

import shutil
import sys
from pathlib import Path

import cv2
import pytest
from checkpoints import write_checkpoint
from tiny_data import make_data
from tiny_model import LABELS

import panoptic_ros
from panoptic_ros.cli.main import main
from panoptic_ros.models.registry import FAMILIES
from panoptic_training.figures.registry import FIGURES

pytest.importorskip('sklearn')
pytest.importorskip('matplotlib')

LAX = {'score_threshold': 0.0, 'min_area': 0.0}
"""Thresholds with which even an untrained model finds things."""


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
    """The folder of a training of family hle."""
    folder = tmp_path_factory.mktemp('hle')
    (folder / 'checkpoints').mkdir()
    network = {**FAMILIES['hle'].small, **LAX}
    write_checkpoint(folder / 'checkpoints/best.ckpt', 'hle', network, (64, 128))
    return folder


def figures(model, out, *flags, data='synthetic'):
    return main(['figures', str(model), '--data', data, '-o', str(out), *map(str, flags)])


def test_a_training_gives_all_figures_of_its_family(run_folder, tmp_path, capsys):
    assert figures(run_folder, tmp_path / 'out', '--limit', 1, '--pixel', '20,30') == 0
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == [f'{name}_000000.jpg' for name in ('hle_1', 'hle_3', 'hle_8')]
    assert all(cv2.imread(str(tmp_path / 'out' / name)).std() > 10 for name in names)
    captured = capsys.readouterr()
    assert captured.out == f'3 figures of hle; saved to {tmp_path / "out"}\n'
    assert captured.err == ''


@pytest.mark.parametrize('family', sorted(set(FIGURES) - {'hle'}))
def test_each_family_draws_its_figures(family, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('panoptic_training.figures.einet.PIXELS_PER_SEGMENT', 4)  # t-SNE is slow
    network = {**FAMILIES[family].small, 'min_area': 0.0}
    checkpoint = write_checkpoint(tmp_path / 'some.ckpt', family, network)
    status = figures(checkpoint, tmp_path / 'out', '--images', '1:2')
    captured = capsys.readouterr()
    assert status == 0, captured.err
    drawn = {path.stem.rsplit('_', 1)[0] for path in (tmp_path / 'out').iterdir()}
    reasons = captured.err.splitlines()
    assert drawn, reasons
    left_out = {figure.name for figure in FIGURES[family]} - drawn
    assert {reason.split('_000001 is not drawn: ')[0] for reason in reasons} == left_out


def test_a_model_file_is_built_again(tmp_path, capsys):
    city = Path(panoptic_ros.__file__).parent / 'data/city.onnx'
    shutil.copy(city, tmp_path / 'city.onnx')
    assert figures(tmp_path / 'city.onnx', tmp_path / 'out', '--limit', 1) == 0
    assert capsys.readouterr().err == (
        f'{tmp_path / "city.onnx"} is built again in PyTorch: its graph returns segments only\n'
    )
    assert len(list((tmp_path / 'out').iterdir())) == 3


def test_images_without_video_give_the_other_figures(tmp_path, capsys):
    data = make_data(tmp_path / 'data', count=2)
    network = {**FAMILIES['hle'].small, **LAX}
    model = write_checkpoint(tmp_path / 'some.ckpt', 'hle', network, (64, 128), LABELS)
    status = figures(model, tmp_path / 'out', '--pixel', '9,9', data=f'coco:{data}')
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert captured.err == f'hle_8 is not drawn: coco:{data} has no video\n'
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == [f'hle_{n}_scene{i}.jpg' for n in (1, 3) for i in (0, 1)]


def test_every_figure_is_in_the_help_and_every_family_is_known(capsys):
    with pytest.raises(SystemExit):
        main(['figures', '--help'])
    words = capsys.readouterr().out.split()
    names = {figure.name for row in FIGURES.values() for figure in row}
    assert names <= set(words)
    assert set(FIGURES) <= set(FAMILIES)
    assert {word for word in words if word.rsplit('_', 1)[0] in FIGURES and '_' in word} >= names


@pytest.mark.parametrize(
    ('flags', 'problem'),
    [
        (('--pixel', '5'), "--pixel must be X,Y, two whole numbers of at least 0, got '5'"),
        (('--pixel', '5,600'), 'the image 000000 has 512x256 pixels, got pixel 5,600'),
        (('--class', 'car'), '--class is for family pisr, got a model of hle'),
        (('--images', '900:'), '--images leaves none of the 200 images'),
    ],
)
def test_wrong_choices_are_errors_of_one_line(run_folder, flags, problem, tmp_path, capsys):
    assert figures(run_folder, tmp_path / 'out', '--limit', 1, *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'panoptic: error: {problem}') and error.count('\n') == 1


def test_what_holds_no_figures_is_refused(run_folder, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    network = FAMILIES['panoptic_deeplab'].small
    other = write_checkpoint(tmp_path / 'other.ckpt', 'panoptic_deeplab', network)
    none = write_checkpoint(
        tmp_path / 'none.ckpt', 'pisr', {**FAMILIES['pisr'].small, 'enabled': False}
    )
    for model, problem in (
        (tmp_path / 'empty', 'has no checkpoints/best.ckpt and no checkpoints/last.ckpt'),
        (tmp_path / 'missing.ckpt', 'missing.ckpt'),
        (other, 'there are no figures of family panoptic_deeplab; the families are: hle, ciae'),
        (none, 'the model has no block (enabled: false)'),
    ):
        assert figures(model, tmp_path / 'out', '--limit', 1) == 2
        error = capsys.readouterr().err
        assert problem in error and error.count('\n') == 1


def test_a_missing_package_is_named(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    assert figures(run_folder, tmp_path / 'out') == 2
    assert 'pip install "panoptic_ros[train,report]"' in capsys.readouterr().err
