# SPDX-License-Identifier: Apache-2.0
"""Pictures of the families' dense predictions."""

import numpy as np
import pytest
import torch
from graphs import random_image
from tiny_model import LABELS

from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.evaluation.map_pictures import dense_predictions, draw_maps

SIZE = (64, 128)

EXPECTED = {
    'hle': {'embedding', 'log sigma', 'seed logits', 'spatial log sigma'},
    'ciae': {'embedding'},
    'einet': {'semantic logits', 'center heatmap', 'center offset', 'feature'},
    'panoptic_deeplab': {'semantic logits', 'center heatmap', 'center offset', 'feature'},
    'pisr': {'final: center heatmap', 'initial: center heatmap', 'heatmaps'},
    'pisr_panoptic_fpn': {'final: semantic logits', 'features'},
    'panoptic_fpn': {'semantic logits'},
    'sognet': {'semantic logits'},
}


@pytest.mark.parametrize('family', EXPECTED)
def test_a_family_shows_what_it_decodes(family):
    torch.manual_seed(0)
    model = build(family, LABELS, **FAMILIES[family].small).eval()
    picture = random_image(SIZE, seed=1)
    with torch.no_grad():
        maps = model.maps(torch.from_numpy(picture).permute(2, 0, 1)[None])
        found = dict(dense_predictions(maps, SIZE))
    assert found.keys() >= EXPECTED[family] - {'spatial log sigma'}
    assert all(values.ndim == 2 and np.isfinite(values).all() for values in found.values())
    drawn = draw_maps(model, picture, 160)
    rows = -(-len(found) // 4)
    assert drawn.shape[1] == 160 * min(len(found), 4) and drawn.shape[0] > rows * 80


def test_every_family_that_is_trained_is_known_here():
    trained = {name for name, row in FAMILIES.items() if row.loss is not None}
    assert trained - {'pisr_maskformer', 'pisr_upernet'} == set(EXPECTED)


def test_tables_are_not_drawn():
    class Queries(tuple):
        _fields = ('class_logits', 'mask_logits', 'auxiliary')

    masks = torch.zeros(1, 5, 16, 32)
    masks[0, 3, 2, 2] = 7
    found = dict(dense_predictions(Queries((torch.zeros(1, 5, 9), masks, [masks])), SIZE))
    assert list(found) == ['mask logits'] and found['mask logits'].max() == 7


def test_offsets_show_their_length():
    class Maps(tuple):
        _fields = ('center_offset',)

    offset = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 16, 32)
    ((name, values),) = dense_predictions(Maps((offset,)), SIZE)
    assert name == 'center offset' and (values == 5).all()
