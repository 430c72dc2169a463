# SPDX-License-Identifier: Apache-2.0
"""Suppression as a fixed point, against loops that define it."""

import pytest
import torch
import torchvision

from panoptic_ros.models.parts.nms import greedy_keep, keep_boxes, pairwise_iou


@pytest.mark.parametrize(
    ('suppresses', 'expected', 'why'),
    [
        ([(0, 1), (1, 2), (2, 3), (3, 4)], [1, 0, 1, 0, 1], 'a chain: every second row is kept'),
        ([(0, 1), (0, 2), (1, 3), (3, 4)], [1, 0, 0, 1, 0], 'a removed seed removes nothing'),
        ([(4, 0), (3, 1)], [1, 1, 1, 1, 1], 'a worse seed removes nothing'),
        ([], [1, 1, 1, 1, 1], 'no row suppresses another'),
    ],
)
def test_greedy_keep(suppresses, expected, why):
    matrix = torch.zeros(5, 5, dtype=torch.bool)
    for j, i in suppresses:
        matrix[j, i] = True
    keep = greedy_keep(matrix, torch.ones(5, dtype=torch.bool))
    assert keep.tolist() == [bool(e) for e in expected], why


def test_greedy_keep_equals_the_loop_on_long_random_chains():
    generator = torch.Generator().manual_seed(0)
    for size, density in ((40, 0.05), (40, 0.3), (64, 0.02)):
        matrix = torch.rand(size, size, generator=generator) < density
        matrix[torch.arange(size - 1), torch.arange(1, size)] = True
        alive = torch.rand(size, generator=generator) < 0.9
        keep = []
        for i in range(size):
            keep.append(bool(alive[i]) and not any(keep[j] and matrix[j, i] for j in range(i)))
        assert greedy_keep(matrix, alive).tolist() == keep


def random_boxes(count, side, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 40], dim=1)


@pytest.mark.parametrize(
    ('count', 'side', 'threshold', 'rounds', 'why'),
    [
        (64, 60, 0.5, None, 'crowded'),
        (64, 400, 0.5, None, 'next to nothing overlaps'),
        (200, 60, 0.7, None, "a region proposal network's threshold"),
        (300, 30, 0.7, 64, 'far more boxes than rounds: chains are short'),
        (1, 10, 0.5, None, 'one box'),
    ],
)
def test_suppression_equals_torchvisions(count, side, threshold, rounds, why):
    for seed in range(5):
        boxes = random_boxes(count, side, seed)
        scores = torch.rand(count, generator=torch.Generator().manual_seed(seed))
        boxes = boxes[scores.argsort(descending=True)]
        keep = greedy_keep(pairwise_iou(boxes) > threshold, torch.ones(count) > 0, rounds)
        expected = torchvision.ops.nms(boxes, -torch.arange(count).float(), threshold)
        assert torch.nonzero(keep)[:, 0].tolist() == sorted(expected.tolist()), why


def test_batches_are_kept_apart():
    boxes = torch.stack([random_boxes(20, 50, seed) for seed in range(3)])
    alive = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)) < 0.8
    together = greedy_keep(pairwise_iou(boxes) > 0.3, alive)
    for i in range(3):
        assert torch.equal(together[i], greedy_keep(pairwise_iou(boxes[i]) > 0.3, alive[i]))


def test_iou_equals_torchvisions_and_is_zero_without_area():
    boxes = random_boxes(30, 60, 0)
    torch.testing.assert_close(pairwise_iou(boxes), torchvision.ops.box_iou(boxes, boxes))
    flat = torch.tensor([[3.0, 3, 3, 9], [3, 3, 3, 9], [0, 0, 10, 10]])
    assert torch.equal(pairwise_iou(flat)[:2], torch.zeros(2, 3))


def test_groups_leave_each_other_alone():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 10]])
    alive, threshold = torch.ones(3) > 0, torch.tensor(0.5)
    assert keep_boxes(boxes, None, alive, threshold).tolist() == [True, False, False]
    group = torch.tensor([0, 1, 0])
    assert keep_boxes(boxes, group, alive, threshold).tolist() == [True, True, False]
