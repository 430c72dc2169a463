# SPDX-License-Identifier: Apache-2.0
"""Associative embedding loss against sums over pairs."""

import numpy as np
import pytest
import torch

from panoptic_training.losses.parts.associative import group_mean, pull_loss, push_loss


def test_pull_and_push_equal_their_sums():
    rng = np.random.default_rng(0)
    e, group = rng.normal(size=(30, 5)), rng.choice([0, 1, 3], 30)  # group 2 has no member
    mean = group_mean(torch.tensor(e), torch.tensor(group), 4).numpy()
    for g in (0, 1, 3):
        np.testing.assert_allclose(mean[g], e[group == g].mean(axis=0))
    pull = np.mean(
        [
            np.mean([max(np.abs(mean[g] - x).sum() - 3.0, 0) ** 2 for x in e[group == g]])
            for g in (0, 1, 3)
        ]
    )
    push = np.mean(
        [
            max(2.0 - np.abs(mean[i] - mean[j]).sum(), 0) ** 2
            for i in range(4)
            for j in range(4)
            if i != j
        ]
    )
    assert pull > 0
    assert push > 0
    args = torch.tensor(e), torch.tensor(group), torch.tensor(mean)
    assert pull_loss(*args, 3.0).item() == pytest.approx(pull)
    assert push_loss(torch.tensor(mean), 2.0).item() == pytest.approx(push)


@pytest.mark.parametrize('groups', [0, 1])
def test_push_needs_a_pair(groups):
    mean = torch.randn(groups, 3, requires_grad=True)
    loss = push_loss(mean, 1.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(mean.grad, torch.zeros_like(mean))


def test_pull_without_members_is_zero_with_zero_gradient():
    mean = torch.randn(2, 3, requires_grad=True)
    loss = pull_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), mean, 0.5)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(mean.grad, torch.zeros_like(mean))


def test_both_pass_gradcheck():
    e = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    group = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])

    def loss(x):
        mean = group_mean(x, group, 3)
        return pull_loss(x, group, mean, 0.5) + push_loss(mean, 2.0)

    assert torch.autograd.gradcheck(loss, e)


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (
            lambda: pull_loss(torch.zeros(3, 2), torch.zeros(4).long(), torch.zeros(1, 2), 1.0),
            r'group \(P,\).*\(4,\)',
        ),
        (
            lambda: pull_loss(torch.zeros(3, 2), torch.zeros(3).long(), torch.zeros(1, 5), 1.0),
            r'mean \(L, D\).*\(1, 5\)',
        ),
        (lambda: push_loss(torch.zeros(3), 1.0), r'mean \(L, D\), got \(3,\)'),
    ],
)
def test_wrong_shapes_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
