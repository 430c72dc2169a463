# SPDX-License-Identifier: Apache-2.0
"""The Lightning module without a training; test_training.py runs trainings."""

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from tiny_model import LABELS

from panoptic_training.trainer.ema import EMA
from panoptic_training.trainer.module import PanopticModule

NETWORK = {
    'backbone': 'mobilenetv2_035',
    'aspp_channels': 8,
    'low_level_channels': 8,
    'decoder_channels': 8,
    'separable': True,
    'stride': 4,
}


def make_module(**more):
    return PanopticModule(
        family='hle', network=NETWORK, labels=LABELS.to_dicts(), input_size=(64, 128), **more
    )


class StoppedTimer(Timer):
    """The timer of a training that has run for a number of seconds."""

    def __init__(self, elapsed, duration):
        super().__init__(duration=None)
        self.elapsed, self.total = elapsed, duration

    def time_elapsed(self, stage='train'):
        return self.elapsed

    def time_remaining(self, stage='train'):
        return None if self.total is None else self.total - self.elapsed


@pytest.mark.parametrize(
    ('step', 'total', 'timer', 'expected'),
    [
        (30, 120, (), 0.25),  # by steps
        (30, math.inf, (), 0.0),  # no end is known
        (30, math.inf, (10.0, 40.0), 0.25),  # by time
        (90, 120, (10.0, 40.0), 0.75),  # whichever is further
        (30, 120, (50.0, 40.0), 1.25),  # past its time
        (30, 120, (10.0, None), 0.25),  # a timer without a limit
        (0, -1, (), 0.0),
    ],
)
def test_progress_is_by_steps_or_by_time(step, total, timer, expected):
    sent = []

    def broadcast(value):
        sent.append(value)
        return value

    module = make_module()
    module.trainer = SimpleNamespace(
        global_step=step,
        estimated_stepping_batches=total,
        callbacks=[EMA(), *([StoppedTimer(*timer)] if timer else [])],
        strategy=SimpleNamespace(broadcast=broadcast),
    )
    assert module.progress() == pytest.approx(expected)
    # Each process has its clock; they go by the first one's.
    assert bool(sent) == bool(timer and timer[1])


def test_hyperparameters_are_plain_values():
    module = make_module(lr=0.5, recipe_hash='ab')
    settings = dict(module.hparams)
    assert settings.pop('labels') == LABELS.to_dicts()
    assert settings == {
        'family': 'hle',
        'network': module.model.config_dict(),  # all keys
        'loss': None,
        'input_size': (64, 128),
        'loss_stride': 4,
        'lr': 0.5,
        'warmup_steps': 200,
        'power': 0.9,
        'milestones': None,
        'init_weights': None,
        'recipe_hash': 'ab',
        'warmup_start': 0.0,
    }


def test_the_labels_size_the_network():
    module = make_module()
    assert module.labels == LABELS
    assert module.model.semantic_mean.shape[0] == len(LABELS)
    assert module.info.input_size == (64, 128) and module.info.labels == LABELS


def checkpoint_of(module):
    return {'hyper_parameters': dict(module.hparams), 'state_dict': module.state_dict()}


def test_a_checkpoint_of_the_same_network_is_taken():
    make_module().on_load_checkpoint(checkpoint_of(make_module()))


def test_other_classes_and_networks_are_refused():
    module, checkpoint = make_module(), checkpoint_of(make_module())
    del checkpoint['state_dict']['model.head.bias']
    checkpoint['state_dict']['model.extra'] = torch.zeros(1)
    with pytest.raises(
        ValueError,
        match=r'another network .*: 2 of \d+ tensors differ, e\.g\. '
        r"'model\.extra'",
    ):
        module.on_load_checkpoint(checkpoint)
    checkpoint['hyper_parameters']['labels'] = LABELS.to_dicts()[:2]
    with pytest.raises(ValueError, match='the checkpoint has 2 classes, the data 4'):
        module.on_load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'loss_stride': 3}, r'model\.loss_stride must be 4, 2 or 1, got 3'),
        ({'init_weights': 'none.safetensors'}, r'no file for init_weights at none\.safetensors'),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make_module(**values)


@pytest.mark.parametrize('decay', [-0.1, 1.0])
def test_ema_decay_lies_below_one(decay):
    with pytest.raises(ValueError, match='EMA decay must lie in 0 to below 1'):
        EMA(decay)
