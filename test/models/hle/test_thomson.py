# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from panoptic_ros.models.hle.thomson import thomson


def cosines(points):
    """Return the sorted cosines of all pairs."""
    first, second = torch.triu_indices(len(points), len(points), 1)
    return (points[first] * points[second]).sum(dim=1).sort().values


@pytest.mark.parametrize(
    ('num', 'dim', 'expected'),
    [
        (2, 2, [-1.0]),  # antipodal pair
        (2, 12, [-1.0]),
        (3, 2, [-0.5] * 3),  # triangle on the circle
        (3, 3, [-0.5] * 3),  # and on a great circle
        (4, 3, [-1 / 3] * 6),  # tetrahedron
        (6, 3, [-1.0] * 3 + [0.0] * 12),  # octahedron
        (13, 12, [-1 / 12] * 78),  # simplex: the most that D = 12 holds
        (4, 1, [-1.0] * 4 + [1.0] * 2),  # one dimension: two places, shared evenly
    ],
)
def test_known_optima(num, dim, expected):
    assert cosines(thomson(num, dim)).tolist() == pytest.approx(expected, abs=1e-4)


def test_cityscapes_means_keep_at_least_right_angles():
    # 19 points in 12 dimensions: up to 24 fit at right angles or more (cross polytope).
    assert cosines(thomson(19, 12))[-1].item() <= 1e-4


@pytest.mark.parametrize(('num', 'dim'), [(1, 1), (1, 5), (2, 1), (40, 6)])
def test_rows_are_unit_float32(num, dim):
    points = thomson(num, dim)
    assert points.shape == (num, dim)
    assert points.dtype == torch.float32
    assert points.norm(dim=1).tolist() == pytest.approx([1] * num, abs=1e-6)


def test_energy_is_lower_than_at_the_random_start():
    def energy(points):
        return (1 / (1 - cosines(points))).sum().item()

    assert energy(thomson(30, 4)) < 0.8 * energy(thomson(30, 4, steps=1, lr=1e-9))


def test_same_seed_same_points_and_callers_own_their_copy():
    first = thomson(7, 3, seed=1)
    expected = first.clone()
    first.zero_()
    assert torch.equal(thomson(7, 3, seed=1), expected)
    assert not torch.allclose(thomson(7, 3, seed=2), expected)


def test_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    thomson(5, 3, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(('num', 'dim', 'steps'), [(0, 3, 1), (3, 0, 1), (3, 3, 0)])
def test_impossible_sizes_are_refused(num, dim, steps):
    with pytest.raises(ValueError, match=f'at least 1, got {num}, {dim} and {steps}'):
        thomson(num, dim, steps=steps)


def test_the_angle_of_a_pentagon():
    assert cosines(thomson(5, 2))[-1].item() == pytest.approx(math.cos(2 * math.pi / 5), abs=1e-3)
