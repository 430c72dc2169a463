# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import yaml
from small_models import SMALL_SOGNET
from tiny_model import LABELS

import panoptic_training
from panoptic_training.trainer.module import PanopticModule
from panoptic_training.trainer.schedule import multistep, poly, warmup

RECIPES = Path(panoptic_training.__file__).parent / 'recipes'


@pytest.mark.parametrize(
    ('progress', 'power', 'expected'),
    [
        (0.0, 0.9, 1.0),
        (0.5, 1.0, 0.5),
        (0.5, 0.9, 0.5358867312681466),
        (0.75, 2.0, 0.0625),
        (1.0, 0.9, 0.0),
        (1.3, 0.9, 0.0),  # a training may overrun its time
        (-0.1, 0.9, 1.0),
    ],
)
def test_poly(progress, power, expected):
    assert poly(progress, power) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ('step', 'steps', 'start', 'expected'),
    [
        (0, 0, 0.0, 1.0),  # no warm-up
        (0, 4, 0.0, 0.2),  # never 0: the first step learns
        (1, 4, 0.0, 0.4),
        (3, 4, 0.0, 0.8),
        (4, 4, 0.0, 1.0),
        (90, 4, 0.0, 1.0),
        (0, 1500, 0.1, 0.1),  # SOGNet's, from a tenth
        (500, 1500, 0.1, 0.4),
        (1500, 1500, 0.1, 1.0),
        (2000, 1500, 0.1, 1.0),
        (0, 0, 0.1, 1.0),
        (0, 4, 1.0, 1.0),
    ],
)
def test_warmup(step, steps, start, expected):
    assert warmup(step, steps, start) == pytest.approx(expected)


def test_warmup_without_a_start_is_as_it_was():
    assert [warmup(i, 200) for i in range(203)] == pytest.approx(
        [min((i + 1) / 201, 1.0) for i in range(203)], rel=1e-12
    )


@pytest.mark.parametrize('name', ['sognet_resnet50_coco', 'sognet_resnet50_cityscapes'])
def test_sognets_recipes_start_at_a_tenth(name):
    model = yaml.safe_load((RECIPES / f'{name}.yaml').read_text())['model']
    assert (model['warmup_steps'], model['warmup_start']) == (1500, 0.1)


@pytest.mark.parametrize(('start', 'expected'), [(0.0, 0.2), (0.5, 0.5)])
def test_the_first_step_has_the_starts_rate(start, expected, monkeypatch):
    torch.manual_seed(0)
    module = PanopticModule(
        'sognet',
        dict(SMALL_SOGNET),
        LABELS.to_dicts(),
        (64, 96),
        lr=0.4,
        warmup_steps=4,
        milestones=[],
        warmup_start=start,
    )
    module.trainer = SimpleNamespace(global_step=0)
    monkeypatch.setattr(module, 'log', lambda *args: None)
    monkeypatch.setattr(L.LightningModule, 'optimizer_step', lambda *args: None)
    optimizer = module.configure_optimizers()
    module.optimizer_step(0, 0, optimizer)
    for group in optimizer.param_groups:
        assert group['lr'] == pytest.approx(0.4 * expected * group['lr_factor'])


def test_a_start_above_one_is_refused():
    with pytest.raises(ValueError, match=r'model\.warmup_start must lie in 0 to 1, got 1\.5'):
        PanopticModule('sognet', {}, LABELS.to_dicts(), (64, 96), warmup_start=1.5)


@pytest.mark.parametrize(
    ('step', 'expected'), [(0, 1.0), (59, 1.0), (60, 0.1), (79, 0.1), (80, 0.01), (1000, 0.01)]
)
def test_tenths(step, expected):
    assert multistep(step, [60, 80]) == pytest.approx(expected)
    assert multistep(step, []) == 1
