# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate --relations`, and overlap accuracy."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import write_checkpoint
from small_models import SMALL_SOGNET

import panoptic_ros
from panoptic_ros.cli.main import main

LAX = {
    'top_k': 4,
    'deformable': False,
    'overlap_of': 'box',
    'relabel': False,
    'score_threshold': 0.0,
    'nms_threshold': 0.9,
    'overlap_threshold': 1.0,
}
"""Configuration with which even an untrained model finds overlapping instances."""


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Write a checkpoint and a model file of it."""
    folder = tmp_path_factory.mktemp('sognet')
    checkpoint = write_checkpoint(folder / 'some.ckpt', 'sognet', {**SMALL_SOGNET, **LAX})
    values = torch.load(checkpoint, weights_only=True)
    for name, value in values['state_dict'].items():
        if name.startswith('model.relation.'):
            value *= 8  # without training, all relations are near 0
    torch.save(values, checkpoint)
    assert main(['export', '--checkpoint', str(checkpoint), '-o', str(folder / 'some.onnx')]) == 0
    return {'checkpoint': checkpoint, 'model file': folder / 'some.onnx'}


def evaluate(model, folder):
    assert (
        main(
            [
                'evaluate',
                '--model',
                str(model),
                '--data',
                'synthetic',
                '--limit',
                '2',
                '--json',
                str(folder / 'scores.json'),
                '--relations',
                str(folder / 'relations.json'),
            ]
        )
        == 0
    )
    return [json.loads((folder / name).read_text()) for name in ('scores.json', 'relations.json')]


def test_checkpoint_and_model_file_give_the_same_relations(files, tmp_path, capsys):
    scores, relations = evaluate(files['checkpoint'], tmp_path)
    assert 'overlap accuracy' in capsys.readouterr().out
    # The synthetic city has ground truth for hidden parts.
    assert 0 <= scores['overlap']['accuracy'] <= 100
    assert [image['index'] for image in relations['images']] == [0, 1]
    assert any(image['pairs'] for image in relations['images'])
    scores_of_file, relations_of_file = evaluate(files['model file'], tmp_path)
    assert scores_of_file['backend'].startswith('onnxruntime')
    assert scores_of_file['overlap'] == scores['overlap']
    for image in (*relations_of_file['images'], *relations['images']):
        for pair in image['pairs']:
            pair['strength'] = pytest.approx(pair['strength'], abs=1e-3)
    assert relations_of_file['images'] == relations['images']


def test_relations_need_a_model_that_has_them(capsys, tmp_path):
    city = Path(panoptic_ros.__file__).parent / 'data/city.onnx'
    assert (
        main(
            [
                'evaluate',
                '--model',
                str(city),
                '--data',
                'synthetic',
                '--limit',
                '1',
                '--relations',
                str(tmp_path / 'relations.json'),
            ]
        )
        == 2
    )
    assert capsys.readouterr().err == (
        f'panoptic: error: --relations needs a model of family sognet with relations, got {city}\n'
    )
