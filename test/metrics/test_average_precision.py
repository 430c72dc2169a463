# SPDX-License-Identifier: Apache-2.0
"""Average precision against COCO's rules written out with masks and loops."""

import builtins
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_segments import CAR, LABELS, PERSON, random_image, strip

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics import average_precision
from panoptic_ros.metrics.average_precision import AveragePrecision
from panoptic_ros.metrics.image_pair import pair_segments

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # the IoUs of small masks equal some exactly


def scored_image(seed):
    """Return a random image, and different scores by segment id."""
    image = random_image(seed)
    rng = np.random.default_rng(seed)
    return image, dict(zip(image[3], rng.permutation(len(image[3])) / 10 + 0.05, strict=True))


def slow_precision(images, class_id, threshold):
    """Return the AP of one class at one IoU threshold; None if no true instance has it."""
    ranked, instances = [], 0  # ranked: (score, is a hit) of predictions that count
    for (gt_map, gt_segments, pred_map, pred_segments, crowd), scores in images:
        gts = [g for g, c in gt_segments.items() if c == class_id and (gt_map == g).any()]
        instances += sum(g not in crowd for g in gts)
        taken = set()
        preds = [p for p, c in pred_segments.items() if c == class_id and (pred_map == p).any()]
        for p in sorted(preds, key=lambda p: -scores[p]):
            best, best_iou = None, threshold
            for g in gts:
                gt, pred = gt_map == g, pred_map == p
                if g not in crowd and g not in taken:
                    iou = (gt & pred).sum() / (gt | pred).sum()
                    if iou >= best_iou:
                        best, best_iou = g, iou
            if best is not None:
                taken.add(best)
                ranked.append((scores[p], True))
            elif not any(
                (pred & (gt_map == g)).sum() / pred.sum() >= threshold
                for g in gts
                if g in crowd
                for pred in [pred_map == p]
            ):
                ranked.append((scores[p], False))
    if not instances:
        return None
    hits = [hit for _, hit in sorted(ranked, key=lambda row: -row[0])]
    points = [(sum(hits[:n]) / instances, sum(hits[:n]) / n) for n in range(1, len(hits) + 1)]
    return np.mean(
        [
            max((precision for recall, precision in points if recall >= level), default=0)
            for level in np.linspace(0, 1, 101)
        ]
    )


def measure(images):
    metric = AveragePrecision(LABELS)
    for image, scores in images:
        metric.update(pair_segments(LABELS, *image, np.array([scores[i] for i in image[3]])))
    return metric


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_it_equals_its_definition(seeds):
    images = [scored_image(seed) for seed in seeds]
    for n, (_, scores) in enumerate(images):
        for p in scores:
            scores[p] += n / 1000  # all differ; ties are tested below
    result = measure(images).compute()
    for class_id in range(len(LABELS)):
        slow = [slow_precision(images, class_id, t) for t in THRESHOLDS]
        if not LABELS.is_thing[class_id] or slow[0] is None:
            assert np.isnan(result.ap.values[class_id])
        else:
            np.testing.assert_allclose(
                [
                    result.ap.values[class_id],
                    result.ap50.values[class_id],
                    result.ap75.values[class_id],
                ],
                [100 * np.mean(slow), 100 * slow[0], 100 * slow[5]],
                atol=1e-9,
            )


@pytest.mark.parametrize(
    ('gt', 'crowd', 'pred', 'scores', 'expected'),
    [
        # IoU 0.8 passes 7 of 10 thresholds; 0.5 counts, unlike for PQ.
        ([(1, 10)], (), [(1, 8), (0, 2)], {1: 0.5}, (70, 100, 100)),
        ([(1, 10)], (), [(1, 5), (0, 5)], {1: 0.5}, (10, 100, 0)),
        # A false positive below the true positive costs nothing, above it half.
        ([(1, 10), (0, 5)], (), [(1, 10), (2, 5)], {1: 0.9, 2: 0.1}, (100, 100, 100)),
        ([(1, 10), (0, 5)], (), [(1, 10), (2, 5)], {1: 0.1, 2: 0.9}, (50, 50, 50)),
        # A crowd is not an instance: predictions in it are ignored.
        (
            [(1, 10), (2, 20)],
            (2,),
            [(1, 10), (3, 9), (4, 11)],
            {1: 0.1, 3: 0.9, 4: 0.8},
            (100, 100, 100),
        ),
        ([(2, 20)], (2,), [(3, 20)], {3: 0.9}, (np.nan,) * 3),
        # One of two instances is missed: precision is 0 at the recalls from 0.51 to 1.
        ([(1, 10), (2, 10)], (), [(1, 10), (0, 10)], {1: 0.9}, (100 * 51 / 101,) * 3),
        ([(1, 10)], (), [(0, 10)], {}, (0, 0, 0)),
    ],
)
def test_rules(gt, crowd, pred, scores, expected):
    image = (
        strip(*gt),
        dict.fromkeys([i for i, _ in gt if i], CAR),
        strip(*pred),
        dict.fromkeys(scores, CAR),
        crowd,
    )
    result = measure([(image, scores)]).compute()
    np.testing.assert_allclose([result.ap.mean, result.ap50.mean, result.ap75.mean], expected)
    assert np.isnan(result.ap.values[PERSON])


def test_the_order_of_equal_scores_does_not_depend_on_ids():
    gt = strip((1, 10), (0, 5))
    one, other = (
        measure([((gt, {1: CAR}, strip((a, 10), (b, 5)), {1: CAR, 2: CAR}, ()), {1: 0.5, 2: 0.5})])
        for a, b in ((1, 2), (2, 1))
    )
    assert one.compute().ap50.mean == other.compute().ap50.mean


def test_listed_segments_without_pixels_do_not_count():
    image = strip((1, 10)), {1: CAR, 9: CAR}, strip((1, 10)), {1: CAR, 8: CAR}, ()
    assert measure([(image, {1: 0.1, 8: 0.9})]).compute().ap.mean == pytest.approx(100)


def test_scores_without_images_are_nan_and_null():
    metric = AveragePrecision(LABELS)
    assert np.isnan(metric.compute().ap.mean)
    document = json.loads(json.dumps(metric.compute().to_dict(), allow_nan=False))
    assert document == {
        'ap': None,
        'ap50': None,
        'ap75': None,
        'per_class': [
            {'name': name, 'ap': None, 'ap50': None, 'ap75': None} for name in ('car', 'person')
        ],
    }


def test_merge_updates_the_result():
    first, second = scored_image(3), scored_image(4)
    metric = measure([first])
    before = metric.compute().to_dict()
    metric.merge(measure([second]))
    assert metric.compute().to_dict() == measure([first, second]).compute().to_dict() != before


def test_bad_input_is_refused():
    image, scores = scored_image(0)
    metric = AveragePrecision(LABELS)
    for bad in (np.zeros(len(scores) + 1), np.full(len(scores), np.nan)):
        with pytest.raises(ValueError, match=f'score for each of {len(scores)} segments'):
            metric.update(pair_segments(LABELS, *image, bad))
    with pytest.raises(ValueError, match='needs the scores of the predicted segments'):
        metric.update(pair_segments(LABELS, *image))
    assert not metric.images
    with pytest.raises(ValueError, match='same label set'):
        metric.merge(AveragePrecision(LabelSet(LABELS.labels[:2])))


def test_missing_pycocotools_is_reported(monkeypatch):
    def importing(name, *args, **kwargs):
        if name.startswith('pycocotools'):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(builtins, '__import__', importing)
    with pytest.raises(ImportError, match='computed by pycocotools, which is not installed'):
        average_precision.AveragePrecision(LABELS)
