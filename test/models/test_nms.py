"""Greedy suppression in fixed shapes against the obvious loop and torchvision's operator."""

import pytest
import torch
from torchvision.ops import batched_nms, nms

from panoptic_ros.models.nms import greedy_keep, keep_boxes


@pytest.mark.parametrize(('suppresses', 'expected', 'why'), [
    ([(0, 1), (1, 2), (2, 3), (3, 4)], [1, 0, 1, 0, 1], 'a chain: each second one comes back'),
    ([(0, 1), (0, 2), (1, 3), (3, 4)], [1, 0, 0, 1, 0], 'a removed seed removes nothing'),
    ([(4, 0), (3, 1)], [1, 1, 1, 1, 1], 'a worse seed removes nothing'),
    ([], [1, 1, 1, 1, 1], 'nothing alike'),
])
def test_greedy_keep(suppresses, expected, why):
    matrix = torch.zeros(5, 5, dtype=torch.bool)
    for j, i in suppresses:
        matrix[j, i] = True
    keep = greedy_keep(matrix, torch.ones(5, dtype=torch.bool))
    assert keep.tolist() == [bool(e) for e in expected], why


def test_greedy_keep_equals_the_loop_on_long_random_chains():
    generator = torch.Generator().manual_seed(0)
    for size, density in ((40, 0.05), (40, 0.3), (64, 0.02), (75, 0.01)):
        matrix = torch.rand(size, size, generator=generator) < density
        matrix[torch.arange(size - 1), torch.arange(1, size)] = True
        alive = torch.rand(size, generator=generator) < 0.9
        keep = []
        for i in range(size):
            keep.append(bool(alive[i]) and not any(keep[j] and matrix[j, i] for j in range(i)))
        assert greedy_keep(matrix, alive).tolist() == keep


def random_boxes(count, seed):
    """Boxes that overlap in chains, clusters and not at all; scores without ties."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    size = 2 + torch.rand(count, 2, generator=generator) * 40
    return torch.cat([corner, corner + size], dim=1), torch.linspace(1, 0.1, count)


@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize('count', [1, 31, 32, 33, 200])
def test_keep_boxes_equals_torchvision(count, threshold):
    box, score = random_boxes(count, seed=count)
    alive = torch.ones(count, dtype=torch.bool)
    keep = keep_boxes(box, None, alive, torch.tensor(threshold))
    assert torch.nonzero(keep)[:, 0].tolist() == nms(box, score, threshold).tolist()


def test_keep_boxes_by_group_equals_torchvision():
    box, score = random_boxes(100, seed=7)
    group = torch.arange(100) % 3
    keep = keep_boxes(box, group, torch.ones(100, dtype=torch.bool), torch.tensor(0.5))
    assert torch.nonzero(keep)[:, 0].tolist() == batched_nms(box, score, group, 0.5).tolist()


def test_boxes_that_take_no_part_suppress_nothing():
    box = torch.tensor([[0., 0, 10, 10]]).repeat(3, 1)
    alive = torch.tensor([False, True, True])
    assert keep_boxes(box, None, alive, torch.tensor(0.5)).tolist() == [False, True, False]


def test_boxes_without_area_are_left_alone():
    box = torch.tensor([[3., 3, 3, 3], [3, 3, 3, 3]])
    alive = torch.tensor([True, True])
    assert keep_boxes(box, None, alive, torch.tensor(0.0)).tolist() == [True, True]
