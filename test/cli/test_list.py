# SPDX-License-Identifier: Apache-2.0
"""`panoptic list`."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiny_model import LABELS, tiny_graph, tiny_info

from panoptic_ros.cli.main import main
from panoptic_ros.cli.recipes import recipe_files, study_files
from panoptic_ros.core.class_file import read_class_file
from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.model_file import file_hash
from panoptic_ros.core.model_info import Scaling
from panoptic_ros.runtime.self_check import write_with_reference


@pytest.mark.parametrize(
    ('topic', 'words'),
    [
        ('recipes', ['hle_mobilenetv2_camvid', 'camvid', '384x512']),
        ('backends', ['tensorrt', 'onnxruntime', 'torch', 'installed']),
    ],
)
def test_a_topic_lists_its_names(capsys, topic, words):
    assert main(['list', topic]) == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out


def test_each_recipe_is_one_line_in_a_pipe(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    assert main(['list', 'recipes']) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name, path in recipe_files().items():
        recipe = read_yaml(path)
        data = recipe['data']
        size = '{}x{}'.format(*data['input_size'])
        assert [name, recipe['model']['family'], data['dataset'].partition(':')[0], size] in rows


def test_nothing_is_cut_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    monkeypatch.setenv('FORCE_COLOR', '1')  # rich takes the output for a terminal
    assert main(['list']) == 0
    out = capsys.readouterr().out
    assert '…' not in out
    assert max(len(line) for line in re.sub(r'\x1b\[[0-9;]*m', '', out).splitlines()) <= 80
    for name in [*recipe_files(), *study_files()]:
        assert name in out


def test_families_are_listed(capsys):
    pytest.importorskip('torch')
    assert main(['list', 'families']) == 0
    assert 'hle' in capsys.readouterr().out


def test_families_without_torch_name_the_installation(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'panoptic_ros.models.registry', None)
    assert main(['list', 'families']) == 0
    assert 'panoptic_ros[train]' in ''.join(capsys.readouterr().out.split())


def test_classes_of_a_model(capsys, tiny_model):
    assert main(['list', 'classes', str(tiny_model)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for class_id, name, kind in ((0, 'floor', 'stuff'), (3, 'box', 'thing')):
        color = '#{:02x}{:02x}{:02x}'.format(*LABELS.colors[class_id])  # as in pictures
        assert [str(class_id), name, kind, color] in rows


def test_a_model_file_says_everything_about_itself(capsys, tmp_path):
    info = replace(
        tiny_info(),
        name='red, white',
        precision='int8',
        scores={'pq': 61.23},
        recipe_hash='abc123',
        card={'limits': '[bold] sees four colours'},
        calibration={'score': Scaling(1.25, -0.5)},
    )
    graph = tiny_graph(info)
    path = tmp_path / 'a.onnx'
    write_with_reference(graph.SerializeToString(), info, path)
    assert main(['list', 'model', str(path)]) == 0
    out = capsys.readouterr().out
    for words in (
        'red, white',
        f'{path}, ',
        file_hash(path),
        'tiny',
        '64x128 px',
        '4 px per cell',
        'int8',
        '4 numbers, mean colour',
        '4: floor, wall, ball, box',
        'pq 61.2',
        'abc123',
        'score with temperature 1.250 and shift -0.50',
        'panoptic_ros 0',
        'answer of onnxruntime',
        '[bold] sees four colours',
        '0 to 1000000',
        'smaller segments are dropped',
    ):
        assert words in out
    assert re.search(r'training data +not stated', out)


def test_classes_as_a_class_file(capsys, tmp_path, tiny_model):
    assert main(['list', 'classes', str(tiny_model), '--yaml']) == 0
    path = tmp_path / 'classes.yaml'
    path.write_text(capsys.readouterr().out)
    found = read_class_file(path)
    assert found.labels.names == LABELS.names and found.divisor == 1000
    np.testing.assert_array_equal(found.labels.is_thing, LABELS.is_thing)
    np.testing.assert_array_equal(found.labels.colors, LABELS.colors)
    assert list(found.labels.class_id_of_category) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    'argv',
    [
        ['classes', 'missing.onnx'],  # no such file
        ['models', '--yaml'],  # nothing to print as YAML
        ['models', 'city.onnx'],  # a file that this topic does not take
    ],
)
def test_bad_arguments(capsys, argv):
    assert main(['list', *argv]) == 2
    assert capsys.readouterr().err.startswith('panoptic: error: ')
