# SPDX-License-Identifier: Apache-2.0
"""Kinds of errors and quality by size, each against a slow version of its definition."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_segments import CAR, LABELS, PERSON, ROAD, random_image, strip

from panoptic_ros.metrics.image_pair import pair_segments
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_training.evaluation.segment_errors import (
    ErrorKind,
    SegmentError,
    confusion_matrix,
    find_errors,
)
from panoptic_training.evaluation.size_quality import SIZES, SizeQuality


def slow_errors(gt_map, gt_segments, pred_map, pred_segments, crowd):
    """Return the errors as a set of pixels per segment gives them."""
    pixels = {
        side: {i: {*zip(*np.nonzero(m == i), strict=True)} for i in ids}
        for side, m, ids in (('gt', gt_map, gt_segments), ('pred', pred_map, pred_segments))
    }
    void = {*zip(*np.nonzero(gt_map == 0), strict=True)}
    gt, pred = pixels['gt'], {p: found - void for p, found in pixels['pred'].items()}

    def iou(g, p):
        union = gt[g] | pred[p]
        return len(gt[g] & pred[p]) / len(union) if union else 0

    def same(g):
        return [p for p in pred if pred_segments[p] == gt_segments[g] and g not in crowd]

    def inside(g):
        return [p for p in same(g) if len(pred[p] & gt[g]) > len(pred[p]) / 2]

    def covered(p):
        return [g for g in gt if p in same(g) and len(pred[p] & gt[g]) > len(gt[g]) / 2]

    errors, used = [], set()
    for g, class_id in gt_segments.items():
        found = [p for p in pred if iou(g, p) > 0.5]
        matched = [p for p in found if p in same(g)]
        used |= {*matched}
        missed = not matched and gt[g] and g not in crowd
        merging = [p for p in same(g) if g in covered(p) and len(covered(p)) > 1]
        if missed and found:
            errors.append(SegmentError(ErrorKind.WRONG_CLASS, class_id, pred_segments[found[0]]))
            used |= {*found}
        elif missed and merging:
            errors.append(SegmentError(ErrorKind.MERGED, class_id))
            used |= {*merging}
        elif len(inside(g)) > 1:
            errors.append(SegmentError(ErrorKind.SPLIT, class_id, None if missed else class_id))
            used |= {*inside(g)}
        elif missed:
            errors.append(SegmentError(ErrorKind.MISSED, class_id))
    for p, class_id in pred_segments.items():
        excused = set(void)
        for g in crowd:
            excused |= gt[g] if gt_segments[g] == class_id else set()
        area = pixels['pred'][p]
        if p not in used and area and len(area & excused) <= len(area) / 2:
            errors.append(SegmentError(ErrorKind.EXTRA, class_id))
    return errors


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_errors_equal_their_definition(seed):
    image = random_image(seed)
    assert find_errors(pair_segments(LABELS, *image)) == slow_errors(*image)


@pytest.mark.parametrize(
    ('truth', 'prediction', 'expected'),
    [
        ([(1, CAR, 8)], [(1, CAR, 8)], []),
        ([(1, CAR, 8)], [(1, PERSON, 8)], [(ErrorKind.WRONG_CLASS, CAR, PERSON)]),
        ([(1, CAR, 8)], [(0, None, 8)], [(ErrorKind.MISSED, CAR, None)]),
        # two halves: neither matches
        ([(1, CAR, 8)], [(1, CAR, 4), (2, CAR, 4)], [(ErrorKind.SPLIT, CAR, None)]),
        # the larger part matches, the rest is no extra segment
        ([(1, CAR, 8)], [(1, CAR, 6), (2, CAR, 2)], [(ErrorKind.SPLIT, CAR, CAR)]),
        ([(1, CAR, 4), (2, CAR, 4)], [(1, CAR, 8)], [(ErrorKind.MERGED, CAR, None)] * 2),
        # it matches the larger one and swallows the smaller one
        ([(1, CAR, 6), (2, CAR, 2)], [(1, CAR, 8)], [(ErrorKind.MERGED, CAR, None)]),
        ([(1, ROAD, 8)], [(1, ROAD, 6), (2, CAR, 2)], [(ErrorKind.EXTRA, CAR, None)]),
    ],
)
def test_examples(truth, prediction, expected):
    sides = []
    for runs in (truth, prediction):
        sides += [strip(*((i, n) for i, _, n in runs)), {i: c for i, c, _ in runs if i}]
    assert find_errors(pair_segments(LABELS, *sides)) == expected


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_the_matrix_counts_each_segment_once(seeds):
    metric, errors, truth = PanopticQuality(LABELS), [], Counter()
    for seed in seeds:
        image = random_image(seed)
        pair = pair_segments(LABELS, *image)
        metric.update(pair)
        errors += find_errors(pair)
        truth.update(c for i, c in image[1].items() if i not in image[4])
    result = metric.compute()
    matrix = confusion_matrix(result, errors)
    assert matrix[:-1].sum(axis=1).tolist() == [truth[c] for c in range(len(LABELS))]
    assert np.diag(matrix)[:-1].tolist() == result.tp.tolist()
    unmatched = [
        e for e in errors if e.kind is not ErrorKind.EXTRA and e.class_id != e.predicted_id
    ]
    assert len(unmatched) == result.fn.sum()
    assert matrix[-1].sum() == sum(error.kind is ErrorKind.EXTRA for error in errors)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_each_segment_has_one_size(seeds):
    """Enlarged images; the counts of all sizes add up to those of the whole."""
    whole, by_size = PanopticQuality(LABELS), SizeQuality(LABELS)
    expected = {size: Counter() for size in SIZES}
    for seed in seeds:
        gt_map, gt_segments, pred_map, pred_segments, crowd = random_image(seed)
        gt_map, pred_map = (np.kron(m, np.ones((9, 9), m.dtype)) for m in (gt_map, pred_map))
        pair = pair_segments(LABELS, gt_map, gt_segments, pred_map, pred_segments, crowd)
        whole.update(pair)
        by_size.update(pair)
        for i, class_id in gt_segments.items():
            area = (gt_map == i).sum()
            size = 'small' if area < 1024 else 'medium' if area < 9216 else 'large'
            expected[size][class_id] += i not in crowd
    found, result = by_size.compute(), whole.compute()
    for name in ('tp', 'fp', 'fn'):
        assert (sum(getattr(one, name) for one in found.values()) == getattr(result, name)).all()
    for size, one in found.items():
        assert (one.tp + one.fn).tolist() == [expected[size][c] for c in range(len(LABELS))]
    total = sum(m.iou_sum for m in by_size.matches.values())
    assert np.allclose(total, whole.iou_sum)
