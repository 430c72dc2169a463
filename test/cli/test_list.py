# SPDX-License-Identifier: Apache-2.0
"""`panoptic list`."""

import sys

import pytest

from panoptic_ros.cli.main import main


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
    assert ['0', 'floor', 'stuff', '#00ff00'] in rows
    assert ['3', 'box', 'thing', '#0000ff'] in rows


@pytest.mark.parametrize(
    'argv',
    [
        ['classes', 'missing.onnx'],  # no such file
        ['models', 'city.onnx'],  # a file that this topic does not take
    ],
)
def test_bad_arguments(capsys, argv):
    assert main(['list', *argv]) == 2
    assert capsys.readouterr().err.startswith('panoptic: error: ')
