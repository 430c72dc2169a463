# SPDX-License-Identifier: Apache-2.0
"""Training of Panoptic-DeepLab and the families built on it."""

import pytest
import torch
from small_batch import assert_all_learn, batch
from small_models import SMALL_CENTERS
from tiny_model import LABELS

from panoptic_ros.models.panoptic_deeplab.network import PanopticDeepLab
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.losses.registry import build_loss

CENTER_FAMILIES = [
    name for name, row in FAMILIES.items() if issubclass(row.network, PanopticDeepLab)
]


@pytest.mark.parametrize(
    'switch',
    [
        {'interaction': 'none'},
        {'interaction': 's2i'},
        {'interaction': 'i2s'},
        {'heatmap_loss': 'focal'},
        {'lowlevel_fusion': 'sum', 'instance_aspp': True},
    ],
)
def test_every_switch_of_einet_trains(switch):
    torch.manual_seed(0)
    model = build('einet', LABELS, **SMALL_CENTERS, **switch).train()
    build_loss('einet', {})(model, batch(), 2)['loss'].backward()
    assert_all_learn(model)
    if switch.get('heatmap_loss') == 'focal':  # hardly a centre anywhere, as CenterNet starts
        heights = build('einet', LABELS, **SMALL_CENTERS, **switch).predict.center.out.bias
        assert torch.sigmoid(heights).tolist() == pytest.approx([0.1] * len(heights), abs=0.01)
    if switch.get('interaction') in ('none', 'i2s'):
        assert not hasattr(model, 'dictionary')
        return
    learned = model.dictionary.clone()
    assert learned.any()
    build_loss('einet', {})(model.eval(), batch(), 2)
    assert torch.equal(model.dictionary, learned), 'frozen outside training'


@pytest.mark.parametrize(
    'switch',
    [
        {'reweight': 'implicit', 'f1': 'cosine', 'f2': 'l2'},
        {'reweight': 'separated', 'f1': 'l2'},
        {'spatial_softmax': False, 'f2': 'cosine'},
        {'enabled': False},
    ],
)
def test_every_switch_of_pisr_trains(switch):
    torch.manual_seed(0)
    model = build('pisr', LABELS, **SMALL_CENTERS, **switch).train()
    build_loss('pisr', {})(model, batch(), 2)['loss'].backward()
    assert_all_learn(model)


@pytest.mark.parametrize('stride', [4, 2])
@pytest.mark.parametrize('family', CENTER_FAMILIES)
def test_the_loss_falls_on_two_images(family, stride):
    torch.manual_seed(0)
    model = build(family, LABELS, **SMALL_CENTERS).train()
    loss, data = build_loss(family, {}), batch()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    history = []
    for _ in range(20):
        terms = loss(model, data, stride)
        optimizer.zero_grad()
        terms['loss'].backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in terms.items()})
    for name in ('loss', 'semantic'):  # offsets, which grow to many px, take longer
        assert min(step[name] for step in history[-3:]) < 0.9 * history[0][name], name
