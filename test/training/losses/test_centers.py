# SPDX-License-Identifier: Apache-2.0
"""Targets of centre heatmaps and offsets against loops over all pixels."""

import math

import pytest
import torch
from label_maps import IS_THING, labels

from panoptic_training.losses.parts.centers import REACH, center_heatmap, center_offsets
from panoptic_training.losses.parts.instances import find_instances
from panoptic_training.losses.parts.label_maps import void_or_crowd


def mass_centers(instance_map):
    """Return {(image, id): (y, x)}."""
    centers = {}
    for b in range(len(instance_map)):
        for i in set(instance_map[b].flatten().tolist()) - {0}:
            at = torch.nonzero(instance_map[b] == i).double().mean(dim=0)
            centers[b, i] = at[0].item(), at[1].item()
    return centers


@pytest.mark.parametrize('sigma', [0.3, 1.0, 2.5])
@pytest.mark.parametrize('by_class', [False, True])
def test_heatmap_equals_the_reference(sigma, by_class):
    _, instance_map = labels()
    instances = find_instances(instance_map)
    sigmas = [sigma * (1 + 0.3 * i) for i in range(len(instances))]
    channels = [0, 0, 1] if by_class else [0] * 3
    shape = (2, 1 + by_class, 6, 8)
    heatmap = center_heatmap(instances, sigmas, channels, shape, torch.device('cpu'))
    expected = torch.zeros(shape)
    for (b, i), (cy, cx) in mass_centers(instance_map).items():
        cy, cx = math.floor(cy + 0.5), math.floor(cx + 0.5)
        s = sigmas[i - 1]
        for y in range(6):
            for x in range(8):
                if max(abs(y - cy), abs(x - cx)) <= math.floor(REACH * s):
                    value = math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s**2))
                    at = (b, channels[i - 1], y, x)
                    expected[at] = max(expected[at], value)
    assert torch.allclose(heatmap, expected, atol=1e-6)
    assert heatmap.max() == 1
    assert not heatmap[1].any(), 'an image without instances'


def test_offsets_lead_to_the_mass_centre():
    _, instance_map = labels()
    offset = center_offsets(find_instances(instance_map), instance_map.shape, torch.device('cpu'))
    centers = mass_centers(instance_map)
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in instance_map.shape)).tolist():
        i = int(instance_map[b, y, x])
        expected = (centers[b, i][0] - y, centers[b, i][1] - x) if i else (0, 0)
        assert offset[b, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


def test_void_and_crowd_are_not_known():
    class_map, instance_map = labels()
    known = ~void_or_crowd(class_map, instance_map, IS_THING)
    expected = torch.ones(2, 6, 8, dtype=torch.bool)
    expected[:, 5, 0:3] = False
    expected[0, 0:2, 6:] = False
    assert torch.equal(known, expected)
