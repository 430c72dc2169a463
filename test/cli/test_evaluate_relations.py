"""`panoptic evaluate --relations`, and overlap accuracy."""

import json

import torch

from panoptic_ros.cli.main import main
from panoptic_ros.models.registry import build
from panoptic_training.data.synthetic import LABELS

NETWORK = {'backbone': 'mobilenetv2_035', 'fpn_channels': 16, 'semantic_widths': [8],
           'box_width': 24, 'embedding_dim': 8, 'mask_widths': [16], 'mask_size': 14,
           'box_dim': 8, 'category_dim': 8, 'mask_dim': 8, 'proposals_per_level': 20,
           'proposals': 40, 'top_k': 12, 'stride': 4}


def test_relations_of_a_checkpoint(tmp_path, capsys):
    model = build('sognet', LABELS, **NETWORK)
    path = tmp_path / 'some.ckpt'
    torch.save({'state_dict': {f'model.{k}': v for k, v in model.state_dict().items()},
                'hyper_parameters': {
                    'family': 'sognet', 'labels': LABELS.to_dicts(), 'network': NETWORK,
                    'input_size': [128, 256], 'recipe_hash': ''}}, path)
    assert main(['evaluate', '--model', str(path), '--data', 'synthetic', '--limit', '2',
                 '--json', str(tmp_path / 'scores.json'),
                 '--relations', str(tmp_path / 'relations.json')]) == 0
    assert 'overlap accuracy' in capsys.readouterr().out
    # The city says what is hidden, so a model of masks is scored too.
    assert 0 <= json.loads((tmp_path / 'scores.json').read_text())['overlap']['accuracy'] <= 100
    images = json.loads((tmp_path / 'relations.json').read_text())['images']
    assert [image['index'] for image in images] == [0, 1]
    assert all(isinstance(image['pairs'], list) for image in images)


def test_relations_need_a_checkpoint_that_has_them(capsys, tiny_model, tmp_path):
    assert main(['evaluate', '--model', str(tiny_model), '--data', 'synthetic', '--limit', '1',
                 '--relations', str(tmp_path / 'relations.json')]) == 2
    assert capsys.readouterr().err.startswith('panoptic: error: ')
