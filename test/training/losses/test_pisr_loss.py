# SPDX-License-Identifier: Apache-2.0
"""Loss of PISR on Panoptic-DeepLab."""

import pytest
import torch
from label_maps import IS_THING, VOID, labels

from panoptic_training.losses.panoptic_deeplab import (
    PanopticDeepLabLossConfig,
    panoptic_deeplab_loss,
)
from panoptic_training.losses.pisr import PISRLossConfig, pisr_loss

STRIDE = 4


def heads(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, n, 6, 8, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for n in (4, 1, 2)
    ]


@pytest.mark.parametrize('gamma', [0.0, 0.5, 0.8])
def test_the_loss_is_the_sum_of_both_heads(gamma):
    final, initial = heads(0), heads(1)
    terms = pisr_loss(final, initial, *labels(), IS_THING, STRIDE, PISRLossConfig(gamma=gamma))
    base = PanopticDeepLabLossConfig()
    after = panoptic_deeplab_loss(*final, *labels(), IS_THING, STRIDE, base)
    before = panoptic_deeplab_loss(*initial, *labels(), IS_THING, STRIDE, base)
    assert terms['loss'].item() == pytest.approx((after['loss'] + gamma * before['loss']).item())
    for name in ('semantic', 'center', 'offset'):
        assert terms[name].item() == pytest.approx(after[name].item())
        assert terms[f'initial_{name}'].item() == pytest.approx(gamma * before[name].item())
    terms['loss'].backward()  # DDP needs a gradient of each head, also with gamma 0
    assert all(x.grad is not None for x in (*final, *initial))


def test_without_the_block_it_equals_panoptic_deeplab():
    terms = pisr_loss(heads(0), None, *labels(), IS_THING, STRIDE, PISRLossConfig())
    expected = panoptic_deeplab_loss(
        *heads(0), *labels(), IS_THING, STRIDE, PanopticDeepLabLossConfig()
    )
    assert terms.keys() == expected.keys()
    assert terms['loss'].item() == pytest.approx(expected['loss'].item())


def test_gradcheck():
    assert torch.autograd.gradcheck(
        lambda *args: pisr_loss(args[:3], args[3:], *labels(), IS_THING, STRIDE, PISRLossConfig())[
            'loss'
        ],
        [*heads(0), *heads(1)],
        fast_mode=True,
    )


def test_void_has_no_cost():
    class_map, instance_map = labels()
    final, initial = heads(0), heads(1)
    terms = pisr_loss(
        final, initial, class_map.fill_(VOID), instance_map, IS_THING, STRIDE, PISRLossConfig()
    )
    terms['loss'].backward()
    assert terms['loss'].item() == 0
    assert not any(x.grad.any() for x in (*final, *initial))


def test_wrong_shapes_and_settings_are_refused():
    wrong = heads(1)
    wrong[2] = torch.zeros(2, 1, 6, 8)
    with pytest.raises(ValueError, match=r'offset \(2, 2, 6, 8\).*got \(2, 1, 6, 8\)'):
        pisr_loss(heads(0), wrong, *labels(), IS_THING, STRIDE, PISRLossConfig())
    with pytest.raises(ValueError, match=r'loss.gamma must not be negative, got -1'):
        PISRLossConfig(gamma=-1.0)
