# SPDX-License-Identifier: Apache-2.0
"""Instances of a batch and means over their masks."""

import pytest
import torch

from panoptic_training.losses.parts.instances import (
    find_instances,
    instance_mean,
    paint,
    thing_means,
)

MAP = torch.tensor(
    [
        [
            [0, 1, 1, 0, 0],
            [0, 1, 0, 0, 0],
            [3, 0, 0, 1, 0],
        ],  # 1 in two pieces, 2 missing, 3 one pixel in a corner
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],  # no instance
        [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],  # one instance that covers all
    ]
)


def test_find_instances_orders_by_image_and_id():
    found = find_instances(MAP)
    assert [(i.image, i.count, i.center_yx) for i in found] == [
        (0, 4, (0.75, 1.75)),  # one instance in two pieces; the centre may lie outside the mask
        (0, 1, (2.0, 0.0)),
        (2, 15, (1.0, 2.0)),
    ]
    assert [(i.rows, i.columns) for i in found][:2] == [
        (slice(0, 3), slice(1, 4)),
        (slice(2, 3), slice(0, 1)),
    ]
    for instance, wanted in zip(found, (1, 3, 1), strict=True):
        assert torch.equal(instance.mask, MAP[instance.box] == wanted)


def test_find_instances_of_an_empty_map():
    assert find_instances(MAP[1:2]) == []


def test_instance_mean_averages_over_masks():
    values = torch.randn(3, 2, 3, 5)
    mean = instance_mean(values, find_instances(MAP))
    for row, (image, wanted) in zip(mean, ((0, 1), (0, 3), (2, 1)), strict=True):
        expected = torch.stack([values[image, d][MAP[image] == wanted].mean() for d in range(2)])
        torch.testing.assert_close(row, expected)


def test_instance_mean_passes_gradcheck():
    values = torch.randn(3, 2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: instance_mean(x, find_instances(MAP)), values)


def test_instance_mean_without_instances_has_zero_gradient():
    values = torch.randn(1, 2, 3, 5, requires_grad=True)
    mean = instance_mean(values, [])
    mean.sum().backward()
    assert mean.shape == (0, 2)
    assert torch.equal(values.grad, torch.zeros_like(values))


@pytest.mark.parametrize('dtype', [torch.float32, torch.int64])
def test_paint_fills_masks_and_only_those(dtype):
    painted = paint(torch.tensor([7, 8, 9], dtype=dtype), find_instances(MAP), MAP.shape)
    expected = torch.zeros_like(MAP)
    expected[0][MAP[0] == 1] = 7
    expected[0][MAP[0] == 3] = 8
    expected[2] = 9
    assert painted.dtype == dtype
    assert torch.equal(painted, expected.to(dtype))


@pytest.mark.parametrize('unit', [True, False])
@pytest.mark.parametrize('clip_images', [1, 2, 4])
def test_means_of_a_thing_in_one_clip_are_shared(clip_images, unit):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 4, (4, 3, 5), generator=generator)
    values = torch.randn(4, 2, 3, 5, generator=generator)
    found = find_instances(ids)
    means = thing_means(values, found, clip_images, unit)
    for row, instance in zip(means, found, strict=True):
        first = instance.image - instance.image % clip_images
        each = []
        for image in range(first, first + clip_images):
            inside = ids[image] == instance.id
            if inside.any():
                one = values[image][:, inside].mean(dim=1)
                each.append(one / one.norm() if unit else one)
        total = torch.stack(each).mean(dim=0)
        torch.testing.assert_close(row, total / total.norm() if unit else total)


@pytest.mark.parametrize('unit', [True, False])
def test_means_pass_gradcheck_also_without_instances(unit):
    values = torch.randn(4, 2, 3, 5, dtype=torch.float64, requires_grad=True)
    found = find_instances(torch.cat([MAP, MAP[:1]]))
    assert torch.autograd.gradcheck(lambda x: thing_means(x, found, 2, unit), values)
    assert thing_means(values, [], 2, unit).shape == (0, 2)


def test_a_batch_with_an_incomplete_clip_is_refused():
    with pytest.raises(ValueError, match='must divide the batch, got 2 for a batch of 3'):
        thing_means(torch.zeros(3, 2, 3, 5), find_instances(MAP), 2)
