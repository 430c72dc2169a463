# SPDX-License-Identifier: Apache-2.0
"""Gradients of every family that is trained, and the settings that its recipes name."""

import pytest
import torch
import yaml
from label_maps import VOID
from small_batch import assert_all_learn, batch
from tiny_model import LABELS

from panoptic_ros.cli.recipes import recipe_files
from panoptic_ros.models.config import configure
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.losses.registry import build_loss
from panoptic_training.trainer.optimizers import OptimizerConfig

TRAINED = [name for name, row in FAMILIES.items() if row.loss is not None]


def batch_of_class(class_id):
    """A batch without instances, of one class."""
    data = batch()
    data.class_map.fill_(class_id)
    data.instance_map.zero_()
    return data


@pytest.mark.parametrize(
    'data',
    [batch(), batch_of_class(0), batch_of_class(VOID), batch_of_class(2)],
    ids=['things', 'stuff', 'void', 'crowd'],
)
@pytest.mark.parametrize('family', TRAINED)
def test_every_parameter_gets_a_finite_gradient(family, data):
    torch.manual_seed(0)
    model = build(family, LABELS, **FAMILIES[family].small).train()
    terms = build_loss(family, {})(model, data, 4)
    terms['loss'].backward()
    assert all(value.isfinite() for value in terms.values())
    assert_all_learn(model)


@pytest.mark.parametrize('name', recipe_files())
def test_recipes_name_settings_that_there_are(name):
    model = yaml.safe_load(recipe_files()[name].read_text())['model']
    assert name.startswith(model['family'])
    configure(FAMILIES[model['family']].config, model['network'], name)
    build_loss(model['family'], model.get('loss', {}))
    OptimizerConfig(**model.get('optimizer', {}))
