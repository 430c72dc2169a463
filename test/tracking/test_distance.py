# SPDX-License-Identifier: Apache-2.0
"""Distances compared with slow, obvious references."""

import numpy as np
import pytest

from panoptic_ros.tracking import distance


def slow_mask_iou(old_map, old_ids, shift, new_map, new_ids):
    height, width = old_map.shape
    iou = np.zeros((len(old_ids), len(new_ids)))
    for i, old_id in enumerate(old_ids):
        moved = np.zeros(old_map.shape, bool)
        for y, x in np.argwhere(old_map == old_id) if old_id else ():
            x2, y2 = x + round(shift[i][0]), y + round(shift[i][1])
            if 0 <= x2 < width and 0 <= y2 < height:
                moved[y2, x2] = True
        for j, new_id in enumerate(new_ids):
            new = new_map == new_id
            iou[i, j] = (moved & new).sum() / max(1, (moved | new).sum())
    return iou


@pytest.mark.parametrize('seed', range(5))
def test_mask_iou_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    blocks = np.ones((3, 4), np.uint16)
    old = np.kron(rng.integers(0, 6, (5, 6), np.uint16), blocks)
    new = np.kron(rng.integers(0, 6, (5, 6), np.uint16), blocks)
    old_ids, new_ids = np.array([3, 0, 1, 4]), np.array([5, 2, 1])  # 0: not seen; 2, 5: no track
    shift = rng.integers(-4, 5, (4, 2)) + rng.uniform(-0.4, 0.4, (4, 2))
    np.testing.assert_allclose(
        distance.mask_iou(old, old_ids, shift, new, new_ids),
        slow_mask_iou(old, old_ids, shift, new, new_ids),
    )


def test_skipping_cells_of_large_maps_keeps_the_iou():
    rng = np.random.default_rng(0)
    old, new = (
        np.kron(rng.integers(0, 4, (8, 16), np.uint16), np.ones((96, 96), np.uint16))
        for _ in range(2)
    )
    assert old.size > distance.MAX_CELLS
    ids, shift = np.arange(1, 4), np.array([[0, 0], [48, -48], [7, 200]])
    y, x = np.mgrid[:768, :1536]
    expected = np.zeros((3, 3))
    for i in range(3):
        from_y, from_x = y - shift[i, 1], x - shift[i, 0]
        inside = (from_y >= 0) & (from_y < 768) & (from_x >= 0) & (from_x < 1536)
        moved = np.zeros(old.shape, bool)
        moved[inside] = old[from_y[inside], from_x[inside]] == ids[i]
        expected[i] = [(moved & (new == j)).sum() / (moved | (new == j)).sum() for j in ids]
    np.testing.assert_allclose(distance.mask_iou(old, ids, shift, new, ids), expected, atol=0.02)


@pytest.mark.parametrize(
    ('box', 'expected'),
    [
        ((0, 0, 2, 2), 1.0),  # itself
        ((1, 0, 3, 2), 1 / 3),  # half covered
        ((2, 0, 4, 2), 0.0),  # touching
        ((5, 5, 6, 6), 0.0),  # apart: no negative overlap
        ((0, 0, 1, 1), 1 / 4),  # inside
        ((1, 1, 1, 1), 0.0),  # empty
    ],
)
def test_box_iou(box, expected):
    iou = distance.box_iou(np.array([[0.0, 0, 2, 2]]), np.array([box], float))
    np.testing.assert_allclose(iou, [[expected]])


def test_two_empty_boxes_do_not_overlap():
    empty = np.ones((1, 4))
    assert distance.box_iou(empty, empty) == [[0]]


@pytest.mark.parametrize(
    ('a', 'b', 'expected'),
    [
        ((2, 0), (5, 0), 0),  # length does not matter
        ((1, 0), (0, 3), 1),  # right angle
        ((1, 0), (-1, 0), 1),  # opposite is no worse
        ((0, 0), (1, 0), 1),  # nothing known
    ],
)
def test_cosine_distance_of_unit_vectors(a, b, expected):
    d = distance.cosine_distance(distance.unit([a]), distance.unit([b]))
    np.testing.assert_allclose(d, [[expected]])
