# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality against a slow version of its definition."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_segments import CAR, LABELS, PERSON, ROAD, SKY, random_image, strip

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import pair_segments
from panoptic_ros.metrics.panoptic import PanopticQuality


def slow_quality(images):
    """Return (C,) IoU sums and (3, C) counts, computed segment by segment with masks."""
    iou_sum, counts = np.zeros(len(LABELS)), np.zeros((3, len(LABELS)), int)
    for gt_map, gt_segments, pred_map, pred_segments, crowd in images:
        void = gt_map == 0
        matched_gt, matched_pred = set(), set()
        for g, g_class in gt_segments.items():
            for p, p_class in pred_segments.items():
                gt, pred = gt_map == g, (pred_map == p) & ~void
                union = (gt | pred).sum()
                iou = (gt & pred).sum() / union if union else 0
                if g_class == p_class and g not in crowd and iou > 0.5:
                    iou_sum[g_class] += iou
                    counts[0, g_class] += 1
                    matched_gt.add(g)
                    matched_pred.add(p)
        for p, p_class in pred_segments.items():
            pred, ignored = pred_map == p, void.copy()
            for g in crowd:
                if gt_segments[g] == p_class:
                    ignored |= gt_map == g
            if p not in matched_pred and pred.any() and (pred & ignored).sum() <= pred.sum() / 2:
                counts[1, p_class] += 1
        for g, g_class in gt_segments.items():
            if g not in matched_gt and g not in crowd and (gt_map == g).any():
                counts[2, g_class] += 1
    return iou_sum, counts


def measure(*images):
    metric = PanopticQuality(LABELS)
    for image in images:
        metric.update(pair_segments(LABELS, *image))
    return metric


def without_crowd(image):
    return (*image[:4], frozenset())


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_it_equals_its_definition(seeds):
    images = [random_image(seed) for seed in seeds]
    metric = measure(*images)
    iou_sum, counts = slow_quality(images)
    np.testing.assert_array_equal(metric.counts, counts)
    np.testing.assert_allclose(metric.iou_sum, iou_sum)


def test_the_random_images_contain_every_case():
    images = [random_image(seed) for seed in range(100)]
    without = [without_crowd(image) for image in images]
    assert (measure(*images).counts > 20).all()
    assert (measure(*images).counts != measure(*without).counts).any(axis=1).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_removing_a_segment_never_adds_matches(seed):
    gt_map, gt_segments, pred_map, pred_segments, crowd = random_image(seed)
    before = measure((gt_map, gt_segments, pred_map, pred_segments, crowd))
    for removed in pred_segments:
        painted = np.where(pred_map == removed, 0, pred_map)
        remaining = {i: c for i, c in pred_segments.items() if i != removed}
        after = measure((gt_map, gt_segments, painted, remaining, crowd))
        tp, fp, fn = after.counts - before.counts
        assert (tp <= 0).all() and (fn == -tp).all() and (fp <= 0).all()
        assert (after.iou_sum <= before.iou_sum + 1e-12).all()


@pytest.mark.parametrize(
    ('gt', 'gt_segments', 'crowd', 'pred', 'pred_segments', 'expected'),
    [
        # exactly one half is no match
        ([(1, 10)], {1: CAR}, (), [(1, 5), (0, 5)], {1: CAR}, (0, 1, 1)),
        # over one half is a match
        ([(1, 10)], {1: CAR}, (), [(1, 6), (0, 4)], {1: CAR}, (1, 0, 0)),
        # right pixels of a wrong class: a false negative of one, a false positive of the other
        ([(1, 10)], {1: CAR}, (), [(1, 10)], {1: PERSON}, (0, 1, 1)),
        # void does not count in the union: IoU 6/6, not 6/13
        ([(1, 6), (0, 7)], {1: CAR}, (), [(1, 13)], {1: CAR}, (1, 0, 0)),
        # a false positive is ignored if more than half of it is void; exactly half counts
        ([(0, 6), (2, 5)], {2: ROAD}, (), [(1, 11)], {1: CAR}, (0, 0, 1)),
        ([(0, 5), (2, 5)], {2: ROAD}, (), [(1, 10)], {1: CAR}, (0, 1, 1)),
        # the same in a crowd of its class, but not of another; a crowd need not be found
        ([(1, 10)], {1: CAR}, (1,), [(1, 4), (2, 6)], {1: CAR, 2: CAR}, (0, 0, 0)),
        ([(1, 10)], {1: CAR}, (1,), [(1, 10)], {1: PERSON}, (0, 1, 0)),
        # void and crowd add up
        ([(0, 3), (1, 3), (2, 5)], {1: CAR, 2: ROAD}, (1,), [(1, 11)], {1: CAR}, (0, 0, 1)),
        # two crowds of a class add up
        (
            [(1, 3), (2, 3), (3, 5)],
            {1: CAR, 2: CAR, 3: ROAD},
            (1, 2),
            [(1, 11)],
            {1: CAR},
            (0, 0, 1),
        ),
        # nothing predicted; a class that the truth does not have
        ([(1, 10)], {1: CAR}, (), [(0, 10)], {}, (0, 0, 1)),
        ([(3, 10)], {3: ROAD}, (), [(1, 5), (3, 5)], {1: CAR, 3: SKY}, (0, 2, 1)),
        # listed segments without pixels do not count
        ([(1, 10)], {1: CAR, 2: CAR}, (), [(7, 10)], {7: CAR, 8: CAR}, (1, 0, 0)),
    ],
)
def test_rules(gt, gt_segments, crowd, pred, pred_segments, expected):
    metric = measure((strip(*gt), gt_segments, strip(*pred), pred_segments, crowd))
    assert tuple(metric.counts.sum(axis=1)) == expected  # tp, fp, fn


def example():
    """Return an image where one car is found with IoU 0.8 and one is missed.

    The person is a false positive, the road is perfect, and there is no sky.
    """
    gt = strip((1, 10), (2, 5), (3, 20))
    pred = strip((1, 8), (0, 2), (5, 5), (3, 20))
    return gt, {1: CAR, 2: CAR, 3: ROAD}, pred, {1: CAR, 5: PERSON, 3: ROAD}


def test_scores_in_percent_and_absent_classes_outside_the_means():
    result = measure(example()).compute()
    np.testing.assert_allclose(result.pq, [80 / 1.5, 0, 100, np.nan])
    np.testing.assert_allclose(result.sq, [80, 0, 100, np.nan])
    np.testing.assert_allclose(result.rq, [100 / 1.5, 0, 100, np.nan])
    assert result.all.pq == pytest.approx((80 / 1.5 + 100) / 3)
    assert (result.things.n, result.stuff.n, result.all.n) == (2, 1, 3)
    assert result.things.pq == pytest.approx(80 / 1.5 / 2)
    assert result.stuff.pq == 100


def test_scores_without_images_are_nan_and_null():
    result = PanopticQuality(LABELS).compute()
    assert np.isnan(result.all.pq) and result.all.n == 0
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))['all'] == {
        'pq': None,
        'sq': None,
        'rq': None,
        'n': 0,
    }
    assert 'nan' in result.format_table()


def test_json_and_tables_agree():
    result = measure(example()).compute()
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document['things']['pq'] == pytest.approx(80 / 3)
    assert document['per_class'][CAR] == {
        'name': 'car',
        'category_id': 26,
        'is_thing': True,
        'pq': pytest.approx(80 / 1.5),
        'sq': pytest.approx(80),
        'rq': pytest.approx(100 / 1.5),
        'tp': 1,
        'fp': 0,
        'fn': 1,
    }
    assert document['per_class'][SKY]['pq'] is None
    assert result.format_table().splitlines() == [
        '          |    PQ     SQ     RQ     N',
        '--------------------------------------',
        'All       |  51.1   60.0   55.6     3',
        'Things    |  26.7   40.0   33.3     2',
        'Stuff     | 100.0  100.0  100.0     1',
    ]
    classes = result.format_classes()
    assert 'car       |  53.3   80.0   66.7      1      0      1' in classes
    assert 'sky' not in classes


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({0: np.ones((2, 3), int)}, r'same size, got \(2, 3\) and \(1, 35\)'),
        ({1: {1: CAR}}, 'ground truth: id 2 is in the map and not in the list'),
        ({3: {}}, 'prediction: id 1 is in the map and not in the list'),
        ({3: {1: CAR, 5: 4, 3: ROAD}}, 'prediction: segment 5 has class 4, expected 0 to 3'),
        ({1: {0: CAR, 1: CAR, 2: CAR, 3: ROAD}}, r'not be 0 \(void\)'),
    ],
)
def test_bad_input_is_refused_and_nothing_is_counted(change, message):
    metric = PanopticQuality(LABELS)
    with pytest.raises(ValueError, match=message):
        changed = [change.get(i, value) for i, value in enumerate(example())]
        metric.update(pair_segments(LABELS, *changed))
    assert not metric.counts.any() and not metric.iou_sum.any()


def test_only_the_same_labels_merge():
    with pytest.raises(ValueError, match='same label set'):
        PanopticQuality(LABELS).merge(PanopticQuality(LabelSet(LABELS.labels[:2])))


def test_maps_without_pixels_add_nothing():
    empty = np.zeros((0, 5), np.uint16)
    assert not measure((empty, {}, empty, {})).counts.any()
