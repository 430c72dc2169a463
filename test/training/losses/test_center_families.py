# SPDX-License-Identifier: Apache-2.0
"""Training of Panoptic-DeepLab and of the families built on it."""

import numpy as np
import pytest
import torch
import yaml
from center_models import SIZE, SMALL_CENTERS
from graphs import random_image
from label_maps import VOID
from tiny_model import LABELS

from panoptic_ros.cli.recipes import recipe_files
from panoptic_ros.models.config import configure
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.data.sample import Batch
from panoptic_training.losses.registry import build_loss
from panoptic_training.trainer.optimizers import OptimizerConfig

CENTER_FAMILIES = ['panoptic_deeplab', 'einet', 'pisr']


def batch():
    """Make two images, with two things on the first and one on the second."""
    images = torch.from_numpy(np.stack([random_image(SIZE, i) for i in range(2)]))
    class_map = torch.zeros(2, *SIZE, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[:, 40:] = 1
    for image, rows, columns, class_id, number in (
        (0, slice(8, 40), slice(8, 40), 2, 1),
        (0, slice(20, 60), slice(80, 100), 3, 2),
        (1, slice(0, 24), slice(100, 128), 2, 1),
    ):
        class_map[image, rows, columns] = class_id
        instance_map[image, rows, columns] = number
    return Batch(images.permute(0, 3, 1, 2), class_map, instance_map)


def edited(edit):
    """Make the batch with other labels."""
    data = batch()
    edit(data.class_map, data.instance_map)
    return data


def assert_all_learn(model):
    """Check that every parameter has a finite gradient, which DDP needs."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    'data',
    [
        batch(),
        edited(lambda c, i: (c.fill_(0), i.zero_())),  # stuff only
        edited(lambda c, i: (c.fill_(VOID), i.zero_())),  # void only
        edited(lambda c, i: (c.fill_(2), i.zero_())),  # crowd only
    ],
    ids=['things', 'stuff', 'void', 'crowd'],
)
@pytest.mark.parametrize('family', CENTER_FAMILIES)
def test_every_parameter_gets_a_finite_gradient(family, data):
    torch.manual_seed(0)
    model = build(family, LABELS, **SMALL_CENTERS).train()
    terms = build_loss(family, {})(model, data, 4)
    terms['loss'].backward()
    assert all(value.isfinite() for value in terms.values())
    assert_all_learn(model)


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
    if switch.get('heatmap_loss') == 'focal':  # no centres at first, as in CenterNet
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
    for name in ('loss', 'semantic'):  # offsets of many px take longer
        assert min(step[name] for step in history[-3:]) < 0.9 * history[0][name], name


@pytest.mark.parametrize(
    'name', sorted(name for name in recipe_files() if name.startswith(tuple(CENTER_FAMILIES)))
)
def test_recipes_have_only_known_settings(name):
    model = yaml.safe_load(recipe_files()[name].read_text())['model']
    assert name.startswith(model['family'])
    configure(FAMILIES[model['family']].config, model['network'], name)
    build_loss(model['family'], model.get('loss', {}))
    OptimizerConfig(**model.get('optimizer', {}))
