# SPDX-License-Identifier: Apache-2.0
"""Each family's loss is found by name."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import panoptic_training.losses
from panoptic_ros.models.registry import FAMILIES, Family
from panoptic_training.losses import hle
from panoptic_training.losses.registry import build_loss

TRAINED = [name for name, row in FAMILIES.items() if row.loss is not None]


@pytest.mark.parametrize('family', TRAINED)
def test_each_family_has_a_loss_with_settings(family):
    loss = build_loss(family, {})
    assert loss.func.__name__ == 'batch_loss'
    assert type(loss.keywords['config']).__name__.endswith('LossConfig')


def test_each_file_is_the_loss_of_a_family():
    folder = Path(panoptic_training.losses.__file__).parent
    files = {path.stem for path in folder.glob('*.py')} - {'__init__', 'registry'}
    assert files == {build_loss(name, {}).func.__module__.rpartition('.')[2] for name in TRAINED}


@dataclass(frozen=True)
class OwnConfig:
    weight: float = 1.0


def own_loss(model, batch, stride, config: OwnConfig):
    return {'loss': config.weight * stride}


@pytest.mark.parametrize(
    ('loss', 'settings', 'expected'),
    [
        (own_loss, {'weight': 3.0}, (own_loss, OwnConfig(3.0))),  # a function
        ('hle', {}, (hle.batch_loss, hle.HLELossConfig())),  # the loss of another family
    ],
)
def test_a_family_from_outside_names_its_loss(monkeypatch, loss, settings, expected):
    row = FAMILIES['hle']
    monkeypatch.setitem(FAMILIES, 'own', Family(row.network, row.config, loss, aliases=('old',)))
    for name in ('own', 'old'):
        found = build_loss(name, settings)
        assert (found.func, found.keywords['config']) == expected
