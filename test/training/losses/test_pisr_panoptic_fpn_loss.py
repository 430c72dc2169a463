# SPDX-License-Identifier: Apache-2.0
"""Loss of PISR on Panoptic FPN and UPerNet."""

import pytest
import torch
from label_maps import street
from small_models import SMALL_FPN
from tiny_model import LABELS

from panoptic_ros.models.registry import build
from panoptic_training.losses.pisr_panoptic_fpn import PISRPanopticFPNLossConfig
from panoptic_training.losses.registry import build_loss

BLOCK = {'block_channels': 16, 'num_encodings': 6}


@pytest.fixture(scope='module', params=['pisr_panoptic_fpn', 'pisr_upernet'])
def model(request):
    torch.manual_seed(0)
    return build(request.param, LABELS, **SMALL_FPN, **BLOCK).train()


@pytest.mark.parametrize(
    'edit',
    [
        None,
        lambda c, i: (c.fill_(0), i.zero_()),  # stuff only
        lambda c, i: (c.fill_(255), i.zero_()),  # void only
        lambda c, i: (c.fill_(2), i.zero_()),  # crowd only
    ],
    ids=['things', 'stuff', 'void', 'crowd'],
)
def test_every_parameter_gets_a_finite_gradient(model, edit):
    torch.manual_seed(0)
    model.zero_grad()
    loss = build_loss(model.family, {'roi_samples': 32, 'embedding_weight': 1.0})
    terms = loss(model, street(edit), 4)
    assert all(value.isfinite() for value in terms.values())
    terms['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_gamma_weights_only_the_initial_heads(model):
    terms = []
    for gamma in (0.5, 1.0, 0.0):
        torch.manual_seed(0)
        terms.append(build_loss(model.family, {'gamma': gamma})(model.eval(), street(), 4))
    model.train()
    half, full, none = terms
    assert half.keys() - full.keys() == set()
    for name in ('semantic', 'class', 'box', 'mask', 'embedding'):
        assert half[f'initial_{name}'].item() == pytest.approx(
            full[f'initial_{name}'].item() / 2, rel=1e-4
        ), name
        assert none[f'initial_{name}'].item() == 0
        assert half[name].item() == pytest.approx(full[name].item(), rel=1e-4), name
    assert half['rpn'].item() == pytest.approx(full['rpn'].item()), 'proposals serve both'
    assert full['initial_mask'].item() != full['mask'].item()
    total = sum(value.item() for name, value in half.items() if name != 'loss')
    assert half['loss'].item() == pytest.approx(total, rel=1e-5)


def test_without_the_block_it_equals_panoptic_fpn():
    torch.manual_seed(0)
    plain = build('panoptic_fpn', LABELS, **SMALL_FPN).eval()
    model = build('pisr_panoptic_fpn', LABELS, **SMALL_FPN, enabled=False).eval()
    model.load_state_dict(plain.state_dict())
    results = []
    for net in (plain, model):
        torch.manual_seed(0)
        results.append(build_loss(net.family, {})(net, street(), 4))
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        assert results[1][name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_a_negative_gamma_is_refused():
    with pytest.raises(ValueError, match=r'loss.gamma must not be negative, got -1'):
        PISRPanopticFPNLossConfig(gamma=-1.0)
