# SPDX-License-Identifier: Apache-2.0
"""`panoptic quantize`; the content of the file is tested in test/training/test_quantization.py."""

import json
import os
import re
import signal
from dataclasses import replace

import pytest
from tiny_data import make_data
from tiny_model import tiny_graph, tiny_info

from panoptic_ros.cli.main import main
from panoptic_ros.core.model_file import (
    load_onnx,
    read_info,
    reference_from_onnx,
    write_model_file,
)

CARD = {'limits': 'sees nothing'}


@pytest.fixture
def data(tmp_path):
    """A data set with one training image more than images to score."""
    pytest.importorskip('panoptic_training.data.registry')
    folder = make_data(tmp_path / 'train', 4)
    for name in ('', 'panoptic_'):
        (folder / f'{name}val').rename(folder / f'{name}train')
    (folder / 'val.json').rename(folder / 'train.json')
    val = make_data(tmp_path / 'val', 3)
    for path in list(val.iterdir()):
        path.rename(folder / path.name)
    return folder


def run(model, data, output, *more):
    return main(['quantize', str(model), '--data', f'coco:{data}', '-o', str(output), *more])


@pytest.mark.parametrize('images', [None, 2])
def test_a_model_is_scored_before_and_after(hle_model, data, tmp_path, capsys, images):
    model, output = tmp_path / 'model.onnx', tmp_path / 'small.onnx'
    write_model_file(load_onnx(hle_model), replace(read_info(hle_model), card=CARD), model)
    assert run(model, data, output, *(['--images', '2'] if images else [])) == 0
    out = capsys.readouterr().out
    before, after = map(float, re.search(r'PQ +([\d.]+) +([\d.]+)\n', out).groups())
    assert re.search(
        rf'small: \d+ layers in int8, \d\.\d MB, PQ [+-]\d+\.\d on {images or 3} images; '
        rf'saved to {re.escape(str(output))}\n$',
        out,
    )
    info = read_info(output)
    assert (info.name, info.precision, info.card) == ('small', 'int8', CARD)
    # Scores of a part of the data are no scores of the model.
    assert info.scores == ({} if images else pytest.approx(info.scores))
    assert round(info.scores.get('pq', after), 1) == after
    assert 0 <= before <= 100


def test_the_file_has_the_reference_of_the_quantised_graph(hle_model, data, tmp_path, monkeypatch):
    monkeypatch.setattr('panoptic_ros.runtime.self_check.LEAST_CLASSES', 0)  # weights are random
    monkeypatch.setattr('panoptic_ros.runtime.self_check.LEAST_SEGMENTS', 0)
    output = tmp_path / 'small.onnx'
    assert run(hle_model, data, output, '--images', '2') == 0
    assert reference_from_onnx(load_onnx(output), read_info(output), output) is not None


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_files(hle_model, data, tmp_path, monkeypatch, number):
    output, work = tmp_path / 'small.onnx', tmp_path / 'work'
    output.write_text('of an earlier run')
    work.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(work))

    def score(*arguments):
        assert list(work.iterdir())
        os.kill(os.getpid(), number)

    monkeypatch.setattr('panoptic_ros.cli.quantize.score', score)
    if number == signal.SIGTERM:
        with pytest.raises(SystemExit) as ended:
            run(hle_model, data, output, '--images', '1')
        assert ended.value.code == 143
    else:
        assert run(hle_model, data, output, '--images', '1') == 130
    assert list(work.iterdir()) == []
    assert output.read_text() == 'of an earlier run'


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ('no images', 'train'),
        ('other classes', 'quantise with data that the model was trained on'),
        ('int8', 'is in int8 already'),
    ],
)
def test_mistakes_are_one_line(hle_model, data, tmp_path, capsys, change, reason):
    output, model = tmp_path / 'new.onnx', hle_model
    path = data / 'train.json'
    values = json.loads(path.read_text())
    if change == 'no images':
        path.write_text(json.dumps(values | {'images': [], 'annotations': []}))
    elif change == 'other classes':
        for split in ('train', 'val'):
            path = data / f'{split}.json'
            path.write_text(path.read_text().replace('"ball"', '"bowl"'))
    else:
        model, info = tmp_path / 'int8.onnx', replace(tiny_info(), precision='int8')
        write_model_file(tiny_graph(info), info, model)
    assert run(model, data, output) == 2
    error = capsys.readouterr().err
    assert error.startswith('panoptic: error: ') and error.count('\n') == 1
    assert reason in error
    assert not output.exists()
