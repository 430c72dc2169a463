# SPDX-License-Identifier: Apache-2.0
"""Overlap accuracy against equation 15 pair by pair."""

import numpy as np
import pytest

from panoptic_ros.metrics.overlap_accuracy import (
    OverlapAccuracy,
    approximate_relation,
    overlap_accuracy,
)


def layers(*rectangles, size=(8, 10)):
    """Return complete and visible masks of rectangles (y1, x1, y2, x2), later ones in front."""
    masks = np.zeros((len(rectangles), *size), bool)
    for mask, (y1, x1, y2, x2) in zip(masks, rectangles, strict=True):
        mask[y1:y2, x1:x2] = True
    visible = masks.copy()
    for i in range(len(masks)):
        visible[i] &= ~masks[i + 1 :].any(axis=0)
    return masks, visible


@pytest.mark.parametrize(
    ('rectangles', 'covered', 'why'),
    [
        ([(0, 0, 4, 4), (2, 2, 6, 6)], {(0, 1)}, 'the later one lies on top'),
        ([(0, 0, 4, 4), (4, 4, 8, 8)], set(), 'apart'),
        ([(0, 0, 8, 10), (1, 1, 3, 3), (2, 2, 5, 5)], {(0, 1), (0, 2), (1, 2)}, 'a pile'),
        ([(0, 0, 5, 5), (4, 4, 8, 10)], set(), 'a corner: less than a tenth of the smaller'),
        ([(0, 0, 4, 4), (0, 0, 0, 0)], set(), 'an empty mask covers nothing'),
        ([], set(), 'no instances'),
    ],
)
def test_relations_follow_from_the_visible_masks(rectangles, covered, why):
    relation = approximate_relation(*layers(*rectangles))
    assert set(map(tuple, np.argwhere(relation).tolist())) == covered, why


def test_an_overlap_that_shows_neither_is_no_relation():
    masks, visible = layers((0, 0, 4, 4), (0, 0, 4, 4))
    visible[:] = False  # stuff lies on both
    assert not approximate_relation(masks, visible).any()


@pytest.mark.parametrize('seed', range(3))
def test_accuracy_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    relation, truth = rng.random((5, 5)), rng.random((5, 5)) < 0.3
    right = 0
    for i in range(5):
        for j in range(5):
            if i != j:
                right += bool(truth[i, j] and relation[i, j] >= 0.5)
                right += bool(not truth[i, j] and relation[i, j] < 0.5)
    assert overlap_accuracy(relation, truth) == pytest.approx(right / 20)


@pytest.mark.parametrize(('value', 'expected'), [(0.5, 1.0), (0.49, 0.5)])
def test_one_half_counts_as_a_relation(value, expected):
    truth = np.array([[False, True], [False, False]])
    assert overlap_accuracy(np.array([[0.9, value], [0.0, 0.9]]), truth) == expected


def test_mean_over_images_with_two_instances():
    first, second = OverlapAccuracy(), OverlapAccuracy()
    assert np.isnan(first.compute())
    first.update(np.zeros((2, 2)), np.array([[False, True], [False, False]]))
    first.update(np.zeros((1, 1)), np.zeros((1, 1), bool))
    second.update(np.zeros((3, 3)), np.zeros((3, 3), bool))
    second.update(np.zeros((0, 0)), np.zeros((0, 0), bool))
    first.merge(second)
    assert first.compute() == pytest.approx(100 * (0.5 + 1.0) / 2)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r'\(N, H, W\) both, got \(2, 3\) and \(2, 3\)'):
        approximate_relation(np.zeros((2, 3), bool), np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match=r'\(N, N\) both, got \(2, 2\) and \(2, 3\)'):
        overlap_accuracy(np.zeros((2, 2)), np.zeros((2, 3), bool))
