# SPDX-License-Identifier: Apache-2.0
"""Loss of Panoptic FPN: gradients of all parameters, also without instances, and weights."""

import pytest
import torch
from label_maps import street
from small_models import SMALL_FPN
from tiny_model import LABELS

from panoptic_ros.models.registry import build
from panoptic_training.losses.panoptic_fpn import PanopticFPNLossConfig, semantic_loss
from panoptic_training.losses.registry import build_loss

TERMS = {'semantic', 'rpn', 'rpn_box', 'class', 'box', 'mask', 'embedding'}


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return build('panoptic_fpn', LABELS, **SMALL_FPN).train()


@pytest.mark.parametrize(
    ('edit', 'zero', 'why'),
    [
        (None, set(), 'a street with things'),
        (
            lambda c, i: (c.fill_(0), i.zero_()),
            {'rpn_box', 'box', 'mask', 'embedding'},
            'stuff only',
        ),
        (
            lambda c, i: (c.fill_(2), i.zero_()),
            {'rpn', 'rpn_box', 'class', 'box', 'mask', 'embedding'},
            'crowd only',
        ),
        (lambda c, i: (c.fill_(255), i.fill_(1)), TERMS, 'void only'),
        (lambda c, i: (c.fill_(2), i.fill_(1)), set(), 'one instance over both images'),
        (
            lambda c, i: (c.fill_(0), i.zero_(), c[0, 5, 5].fill_(2), i[0, 5, 5].fill_(1)),
            {'x'},
            'one pixel',
        ),
    ],
)
def test_every_parameter_gets_a_finite_gradient(model, edit, zero, why):
    torch.manual_seed(0)
    model.zero_grad()
    loss = build_loss(
        'panoptic_fpn',
        {'embedding_weight': 1.0, 'embedding_margins': (0.0, 20.0), 'roi_samples': 32},
    )
    terms = loss(model, street(edit), 4)
    assert set(terms) == TERMS | {'loss'}
    assert all(value.isfinite() for value in terms.values()), why
    total = sum(value.item() for name, value in terms.items() if name != 'loss')
    assert terms['loss'].item() == pytest.approx(total, rel=1e-5)
    if zero != {'x'}:
        assert {name for name in TERMS if terms[name].item() == 0} == zero, why
    terms['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), (why, name)


def test_weights_multiply_their_terms(model):
    plain, weighted = {}, {}
    for result, weights in (
        (plain, {}),
        (
            weighted,
            {'rpn_weight': 2.0, 'box_weight': 3.0, 'mask_weight': 0.0, 'semantic_weight': 0.5},
        ),
    ):
        torch.manual_seed(0)
        result |= build_loss('panoptic_fpn', weights)(model, street(), 4)
    for name, factor in (
        ('rpn', 2),
        ('rpn_box', 2),
        ('class', 3),
        ('box', 3),
        ('mask', 0),
        ('semantic', 0.5),
        ('embedding', 0),
    ):
        assert weighted[name].item() == pytest.approx(factor * plain[name].item(), rel=1e-4), name


def test_losses_of_half_precision_networks_are_float32(model):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = build_loss('panoptic_fpn', {})(model, street(), 4)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())


@pytest.mark.parametrize('stride', [4, 2, 1])
def test_semantic_loss_is_computed_at_the_given_stride(stride):
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 16, 24, dtype=torch.float64, requires_grad=True)
    labels = street().at_stride(stride).class_map
    up = (
        logits
        if stride == 4
        else torch.nn.functional.interpolate(logits, size=labels.shape[1:], mode='bilinear')
    )
    expected = [
        -up.log_softmax(1)[b, labels[b, y, x], y, x]
        for b, y, x in torch.nonzero(labels != 255).tolist()[::97]
    ]
    known = torch.full_like(labels, 255)
    for b, y, x in torch.nonzero(labels != 255).tolist()[::97]:
        known[b, y, x] = labels[b, y, x]
    ours = semantic_loss(logits, known, stride)
    torch.testing.assert_close(ours, torch.stack(expected).mean())


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'roi_samples': 0}, 'loss.roi_samples must be at least 1, got 0'),
        ({'roi_positive': 0.0}, r'loss.roi_positive must lie above 0 and up to 1, got 0\.0'),
        ({'mask_weight': -1.0}, r'loss.mask_weight must not be negative, got -1\.0'),
    ],
)
def test_wrong_settings_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        PanopticFPNLossConfig(**values)
