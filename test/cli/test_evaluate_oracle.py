"""`panoptic evaluate --oracle`."""

import json

import torch

from panoptic_ros.cli.main import main
from panoptic_ros.models.registry import build
from panoptic_training.data.synthetic import LABELS

NETWORK = {'backbone': 'mobilenetv2_035', 'channels': 8, 'tower_depth': 0, 'branch_channels': 8,
           'embedding_dim': 8, 'stride': 4}


def test_oracle_scores_a_checkpoint(tmp_path, capsys):
    model = build('ciae', LABELS, **NETWORK)
    path = tmp_path / 'some.ckpt'
    torch.save({'state_dict': {f'model.{k}': v for k, v in model.state_dict().items()},
                'hyper_parameters': {
                    'family': 'ciae', 'labels': LABELS.to_dicts(), 'network': NETWORK,
                    'input_size': [128, 256], 'recipe_hash': ''}}, path)
    flags = ['evaluate', '--model', str(path), '--data', 'synthetic', '--limit', '1',
             '--json', str(tmp_path / 'scores.json')]
    assert main([*flags, '--oracle']) == 0
    assert json.loads((tmp_path / 'scores.json').read_text())['oracle'] is True
    assert '1 images' in capsys.readouterr().out


def test_oracle_needs_a_checkpoint(tmp_path, capsys, tiny_model):
    assert main(['evaluate', '--model', str(tiny_model), '--data', 'synthetic', '--limit', '1',
                 '--oracle']) == 2
    assert capsys.readouterr().err.startswith('panoptic: error: ')
