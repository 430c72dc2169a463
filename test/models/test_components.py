# SPDX-License-Identifier: Apache-2.0
"""Connected components as tensor code, compared with SciPy's."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from panoptic_ros.models.parts.components import (
    ROUNDS,
    SIDE,
    TOP_K,
    decode_classes,
    largest,
    number_components,
)


def components(class_map):
    """Return SciPy's components of a map, numbered from 1 in the order of their last cells."""
    labels = np.zeros(class_map.shape, int)
    for value in np.unique(class_map):
        parts, _ = ndimage.label(class_map == value)
        labels = np.where(parts > 0, parts + labels.max(), labels)
    flat = labels.ravel()
    last = np.zeros(labels.max() + 1, int)
    last[flat] = np.arange(flat.size)  # later cells replace earlier ones
    return (np.argsort(np.argsort(last[1:])) + 1)[labels - 1]


def numbered(class_map):
    chosen = torch.ones(class_map.size, dtype=torch.bool)
    found = number_components(torch.from_numpy(class_map.copy()), chosen)
    return found.numpy().reshape(class_map.shape)


def regions(size, sigma, classes, seed=0):
    """A map of smooth regions, as segmentations have them."""
    noise = np.random.default_rng(seed).standard_normal((classes, *size))
    return ndimage.gaussian_filter(noise, (0, sigma, sigma)).argmax(axis=0)


def stairs(pieces, length=3):
    """A path of straight pieces from the top left, whose last cell is its end."""
    side = length * (pieces // 2 + 1) + 2
    cells = np.zeros((side, side), int)
    y = x = 0
    cells[0, 0] = 1
    for piece in range(pieces):
        for _ in range(length):
            y, x = (y, x + 1) if piece % 2 else (y + 1, x)
            cells[y, x] = 1
    return cells


def comb(teeth):
    """Vertical bars that meet in the top line: the worst case of labels that start at the end."""
    cells = np.zeros((40, 2 * teeth - 1), int)
    cells[0] = 1
    cells[:, ::2] = 1
    return cells


SNAKE = np.tile([[1] * 15, [0] * 14 + [1], [1] * 15, [1] + [0] * 14], (4, 1))
"""A path that goes to and fro."""


@pytest.mark.parametrize(
    'class_map',
    [
        np.zeros((1, 1), int),
        np.zeros((1, 7), int),
        np.arange(7)[:, None] // 2,
        np.indices((5, 6)).sum(axis=0) % 2,  # diagonal neighbours are not connected
        np.tile([[0, 1], [0, 1]], (9, 17)),
        stairs(2 * ROUNDS - 1),
        comb(20),
        comb(20)[::-1],
        comb(20).T,
        SNAKE,
        SNAKE[::-1, ::-1],
        *(regions((64, 96), 8, 5, seed) for seed in range(4)),
        *(regions((37, 53), 4, 3, seed) for seed in range(4)),
    ],
    ids=lambda value: 'x'.join(map(str, value.shape)),
)
def test_components_are_those_of_scipy(class_map):
    np.testing.assert_array_equal(numbered(class_map), components(class_map))


def test_beyond_the_bound_components_are_split_and_never_joined():
    split = 0
    for seed in range(6):
        class_map = np.random.default_rng(seed).integers(0, 2, (40, 60))
        expected, found = components(class_map), numbered(class_map)
        for number in np.unique(found[found > 0]):
            assert len(np.unique(expected[found == number])) == 1
        split += sum(len(np.unique(found[expected == i])) > 1 for i in np.unique(expected))
    assert split <= 6  # of about 2000


def test_only_chosen_cells_have_a_number():
    class_map = np.array([[0, 1, 0], [0, 1, 2]])
    chosen = torch.from_numpy(class_map.ravel() != 1)
    found = number_components(torch.from_numpy(class_map), chosen)
    assert found.tolist() == [2, 0, 1, 2, 0, 3]


def test_the_largest_come_first_and_the_first_of_equals():
    number = torch.tensor([0, 3, 3, 3, 1, 7, 7, 7, 9, 9, SIDE**2 - 1])
    assert largest(number, 3).tolist() == [0, 1, 1, 1, 0, 2, 2, 2, 3, 3, 0]


def decoded(class_map, is_thing, **thresholds):
    height, width = class_map.shape
    values = {'score_threshold': 0.0, 'min_area': 0.0, 'min_stuff_area': 0.0, **thresholds}
    return decode_classes(
        torch.from_numpy(class_map),
        torch.linspace(0.5, 1, height * width).view(height, width),
        torch.tensor(is_thing),
        any(is_thing),
        4,
        {name: torch.tensor(value) for name, value in values.items()},
    )


def test_rows_of_things_and_stuff():
    class_map = np.array([[0, 1, 1, 0, 1], [2, 2, 3, 0, 1], [2, 2, 3, 3, 0]])  # 3 is void
    found = decoded(class_map, [False, True, False])
    stuff = TOP_K + 1
    first, last = stuff, stuff + 2
    assert found.segment_map.tolist() == [
        [first, 1, 1, first, 2],
        [last, last, 0, first, 2],
        [last, last, 0, 0, first],
    ]
    assert found.semantic_map.tolist() == np.where(class_map == 3, 255, class_map).tolist()
    assert found.valid.nonzero()[:, 0].tolist() == [0, 1, TOP_K, TOP_K + 2]
    assert found.class_id[[0, 1, TOP_K, TOP_K + 2]].tolist() == [1, 1, 0, 2]
    assert found.area[[0, 1, TOP_K, TOP_K + 2]].tolist() == [2, 2, 4, 4]
    assert found.box[0].tolist() == [1, 0, 3, 1]
    probability = np.linspace(0.5, 1, 15).reshape(3, 5)
    for row, mask in ((0, [(0, 1), (0, 2)]), (TOP_K + 2, [(1, 0), (1, 1), (2, 0), (2, 1)])):
        mean = np.mean([probability[cell] for cell in mask])
        assert float(found.score[row]) == pytest.approx(mean)
    assert found.embedding.shape == (TOP_K + 3, 0)


@pytest.mark.parametrize(
    ('threshold', 'value', 'rows'),
    [
        ('min_area', 32.0, [0, TOP_K, TOP_K + 2]),  # things have 2, 1 and 1 cells of 16 px
        ('min_stuff_area', 96.0, [0, 1, 2, TOP_K + 2]),  # stuff has 5 and 6 cells
        ('score_threshold', 0.65, [2, TOP_K, TOP_K + 2]),
    ],
)
def test_thresholds_of_classes(threshold, value, rows):
    class_map = np.array([[0, 1, 1, 0, 1], [1, 2, 2, 0, 2], [2, 2, 2, 0, 0]])
    found = decoded(class_map, [False, True, False], **{threshold: value})
    assert found.valid.nonzero()[:, 0].tolist() == rows


def test_more_instances_than_rows():
    class_map = np.indices((30, 30)).sum(axis=0) % 2  # 450 things of one cell
    class_map[:3, :3] = 1
    found = decoded(class_map, [False, True])
    assert int(found.valid[:TOP_K].sum()) == TOP_K
    assert int(found.area[0]) == 13  # the square, and four cells that touch it
    assert int(found.valid[TOP_K:].sum()) == 1


def test_without_things_there_are_rows_of_stuff_only():
    found = decoded(np.array([[0, 1], [1, 1]]), [False, False])
    assert found.valid.tolist() == [False, True, True]
    assert found.segment_map.tolist() == [[2, 3], [3, 3]]
