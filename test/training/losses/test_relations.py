# SPDX-License-Identifier: Apache-2.0
"""Targets and losses of SOGNet against equations 9 to 14, pair by pair and cell by cell."""

import math

import numpy as np
import pytest
import torch

from panoptic_ros.metrics.overlap_accuracy import approximate_relation
from panoptic_training.losses.parts.sognet_relations import (
    IGNORED,
    covered,
    panoptic_loss,
    panoptic_target,
    relation_loss,
)

STUFF = torch.tensor([0, 3])
"""Class ids of the stuff classes; 1, 2 and 4 are things."""


def random_masks(seed, count=5):
    """Make whole masks, and their visible parts when later ones cover earlier ones."""
    mask = torch.rand(count, 6, 7, generator=torch.Generator().manual_seed(seed)) < 0.5
    visible = mask.clone()
    for i in range(count):
        visible[i] &= ~mask[i + 1 :].any(dim=0)
    return mask, visible


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('least', [0.1, 0.6])
def test_covered_equals_the_loop_and_the_metrics(seed, least):
    mask, visible = random_masks(seed)
    visible[:, :, 0] = False  # covered by stuff
    target = covered(mask.flatten(1).float(), visible.flatten(1).float(), least)
    for i in range(5):
        for j in range(5):
            both = mask[i] & mask[j]
            share = both.sum() / min(mask[i].sum(), mask[j].sum())
            under = (both & visible[j]).sum() > (both & visible[i]).sum()
            assert target[i, j] == (i != j and bool(share >= least) and bool(under))
    np.testing.assert_array_equal(
        target.numpy(), approximate_relation(mask.numpy(), visible.numpy(), least)
    )


@pytest.mark.parametrize('weak', [False, True])
@pytest.mark.parametrize('count', [1, 2, 4])
def test_relation_loss_equals_equations_12_and_14(count, weak):
    generator = torch.Generator().manual_seed(0)
    relation = torch.rand(count, count, generator=generator)
    target = torch.rand(count, count, generator=generator) < 0.5
    total = 0.0
    for i in range(count):
        for j in range(count):
            ours = float(relation[i, j]) + (0 if weak else float(relation[j, i]))
            total += (ours - float(target[i, j])) ** 2
    loss = relation_loss(relation, target, weak)
    assert loss.item() == pytest.approx(total / count**2, rel=1e-5)


def label_maps():
    """Make stuff 0 and 3, instance 5 of class 1 and 2 of class 4, crowd of class 2, and void."""
    class_map = torch.zeros(4, 6, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[2:] = 3
    class_map[:2, :2], instance_map[:2, :2] = 1, 5
    class_map[3, 5], instance_map[3, 5] = 4, 2
    class_map[0, 5] = 2
    class_map[1, 5], instance_map[1, 5] = 255, 5
    return class_map, instance_map


@pytest.mark.parametrize(
    ('ids', 'dropped', 'why'),
    [
        ([2, 5], None, 'both instances'),
        ([5], None, 'one is not listed'),
        ([], None, 'stuff only'),
        ([5], [2], "one is the void channel's"),
        ([], [2, 5], 'both are'),
    ],
)
def test_panoptic_target_equals_the_loop(ids, dropped, why):
    class_map, instance_map = label_maps()
    target = panoptic_target(
        class_map,
        instance_map,
        torch.tensor(ids, dtype=torch.int64),
        STUFF,
        None if dropped is None else torch.tensor(dropped),
    )
    for place in np.ndindex(4, 6):
        class_id, instance = int(class_map[place]), int(instance_map[place])
        if class_id == 255:
            expected = IGNORED
        elif class_id in (0, 3):
            expected = (0, 3).index(class_id)
        elif instance in ids:
            expected = 2 + ids.index(instance)
        elif dropped and instance in dropped:
            expected = 2 + len(ids)
        else:
            expected = IGNORED
        assert target[place] == expected, (why, place)


def test_panoptic_loss_is_the_mean_over_cells_that_are_not_ignored():
    torch.manual_seed(0)
    target = panoptic_target(*label_maps(), torch.tensor([2]), STUFF)
    logits = torch.randn(3, 4, 6)
    each = [
        -logits[:, y, x].log_softmax(0)[target[y, x]]
        for y, x in np.ndindex(4, 6)
        if target[y, x] != IGNORED
    ]
    torch.testing.assert_close(panoptic_loss(logits, target), torch.stack(each).mean())


def test_losses_without_instances_or_cells_are_zero():
    logits = torch.zeros(2, 3, 3, requires_grad=True)
    loss = panoptic_loss(logits, torch.full((3, 3), IGNORED))
    loss.backward()
    assert loss == 0 and not logits.grad.any()
    relation = torch.zeros(0, 0, requires_grad=True)
    for weak in (False, True):
        loss = relation_loss(relation, torch.zeros(0, 0, dtype=torch.bool), weak)
        assert loss == 0 and loss.requires_grad
    assert covered(torch.zeros(0, 9), torch.zeros(0, 9), 0.1).shape == (0, 0)


@pytest.mark.parametrize('weak', [False, True])
def test_gradcheck(weak):
    torch.manual_seed(0)
    relation = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    target = torch.rand(4, 4) < 0.5
    assert torch.autograd.gradcheck(lambda x: relation_loss(x, target, weak), [relation])
    logits = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    target = panoptic_target(*label_maps(), torch.tensor([2]), STUFF)
    assert torch.autograd.gradcheck(lambda x: panoptic_loss(x, target), [logits])


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(3, 4, 6).half()
    target = panoptic_target(*label_maps(), torch.tensor([2]), STUFF)
    assert panoptic_loss(logits, target).dtype == torch.float32
    assert relation_loss(torch.rand(2, 2).half(), torch.eye(2) > 0, True).dtype == torch.float32


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (lambda: covered(torch.zeros(2, 3), torch.zeros(2, 4), 0.1), r'\(N, P\), got .*\(2, 4\)'),
        (lambda: relation_loss(torch.zeros(2, 2), torch.zeros(2, 3), True), r'\(N, N\).*\(2, 3\)'),
        (
            lambda: panoptic_target(torch.zeros(2, 2), torch.zeros(2), torch.zeros(0), STUFF),
            r'\(h, w\), got \(2, 2\), \(2,\)',
        ),
        (lambda: panoptic_loss(torch.zeros(2, 3, 3), torch.zeros(3)), r'target \(h, w\).*\(3,\)'),
    ],
)
def test_wrong_shapes_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_perfect_relations_have_no_cost():
    mask, visible = random_masks(0)
    relation = covered(mask.flatten(1).float(), visible.flatten(1).float(), 0.1)
    assert relation_loss(relation.float(), relation, True) == 0
    assert relation_loss(relation.float(), relation | relation.T, False) == 0
    assert math.isclose(
        relation_loss(0 * relation.float(), relation, True).item(),
        relation.sum().item() / 25,
        rel_tol=1e-6,
    )
