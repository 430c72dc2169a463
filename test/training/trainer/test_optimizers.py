# SPDX-License-Identifier: Apache-2.0
"""Parameter groups, and the update of each optimiser in one step."""

import pytest
import torch
from torch import nn

from panoptic_training.trainer.optimizers import OptimizerConfig, make_optimizer


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.semantic_mean = nn.Parameter(torch.ones(4, 2))
        self.log_sigma = nn.Parameter(torch.ones(4))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def groups_by_name(config, lr=0.1):
    net = Net()
    names = {id(value): name for name, value in net.named_parameters()}
    optimizer = make_optimizer(net.named_parameters(), config, lr)
    return optimizer, [
        ({names[id(p)] for p in group['params']}, group['weight_decay'], group['lr_factor'])
        for group in optimizer.param_groups
    ]


def test_only_weights_decay_and_biases_may_go_faster():
    _, groups = groups_by_name(OptimizerConfig(weight_decay=0.3, bias_lr_factor=2.0))
    assert groups == [
        ({'conv.weight'}, 0.3, 1.0),
        ({'norm.weight', 'semantic_mean', 'log_sigma'}, 0.0, 1.0),
        ({'conv.bias', 'norm.bias'}, 0.0, 2.0),
    ]


def test_class_means_may_go_faster():
    _, groups = groups_by_name(OptimizerConfig(class_mean_lr_factor=10.0))
    assert [group for group in groups if 'semantic_mean' in group[0]] == [
        ({'semantic_mean'}, 0.0, 10.0)
    ]
    assert sum('log_sigma' in names and factor == 1 for names, _, factor in groups) == 1


def test_the_backbone_may_go_slower():
    net = nn.ModuleDict({'backbone': Net(), 'head': Net()})
    named = [(f'model.{name}', value) for name, value in net.named_parameters()]
    optimizer = make_optimizer(
        named, OptimizerConfig(backbone_lr_factor=0.2, bias_lr_factor=2), 1.0
    )
    factors = {
        id(p): group['lr_factor'] for group in optimizer.param_groups for p in group['params']
    }
    for part, factor in ((net['backbone'], 0.2), (net['head'], 1.0)):
        assert factors[id(part.conv.weight)] == factors[id(part.log_sigma)] == factor
        assert factors[id(part.conv.bias)] == 2 * factor


@pytest.mark.parametrize(
    ('config', 'kind'),
    [
        (OptimizerConfig(), torch.optim.AdamW),
        (OptimizerConfig(name='adam'), torch.optim.Adam),
        (OptimizerConfig(name='sgd', momentum=0.7, nesterov=True), torch.optim.SGD),
    ],
)
def test_each_name_is_its_optimiser(config, kind):
    optimizer, _ = groups_by_name(config, lr=0.25)
    assert type(optimizer) is kind
    assert {group['lr'] for group in optimizer.param_groups} == {0.25}
    if kind is torch.optim.SGD:
        assert optimizer.defaults['momentum'] == 0.7 and optimizer.defaults['nesterov']


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('sgd', 2 - 0.1 * (4 + 0.5 * 2)),  # decay is part of the gradient
        ('adamw', 2 * (1 - 0.1 * 0.5) - 0.1),  # decay apart from Adam's unit step
        ('adam', 2 - 0.1),  # decay inside: the step is of unit size again
    ],
)
def test_one_step_with_decay(name, expected):
    weight = nn.Parameter(torch.full((1, 1), 2.0))
    optimizer = make_optimizer(
        [('weight', weight)], OptimizerConfig(name=name, weight_decay=0.5, momentum=0), 0.1
    )
    weight.grad = torch.full((1, 1), 4.0)
    optimizer.step()
    assert weight.item() == pytest.approx(expected, abs=1e-5)


def test_groups_without_parameters_are_left_out():
    optimizer = make_optimizer([('a.bias', nn.Parameter(torch.zeros(1)))], OptimizerConfig(), 1)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    'values',
    [{'name': 'lamb'}, {'weight_decay': -1.0}, {'momentum': 1.0}, {'bias_lr_factor': 0.0}],
)
def test_bad_settings_are_named(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        OptimizerConfig(**values)
