# SPDX-License-Identifier: Apache-2.0
"""Properties of every image metric, on random images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_segments import LABELS, random_image

from panoptic_ros.metrics.base import SumMetric
from panoptic_ros.metrics.boundary import BoundaryQuality
from panoptic_ros.metrics.image_pair import pair_segments
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.registry import COLUMNS, METRICS
from panoptic_ros.metrics.scores import ImageScores

THINGS = ('ap', 'ap50', 'ap75', 'iiou')
"""Figures that stuff does not have."""

SEGMENTS = ('pq', 'sq', 'rq', 'pq_dagger', 'pc', 'boundary_pq', *THINGS)
"""Figures of segments, which classes that have only crowds do not have."""

SEED = st.integers(0, 2**32 - 1)
SEEDS = st.lists(SEED, min_size=1, max_size=3)


def scored_image(seed):
    """Return a random image, and a score for each predicted segment, some of them equal."""
    image = random_image(seed)
    rng = np.random.default_rng(seed)
    return image, {i: float(rng.integers(1, 5)) / 4 for i in image[3]}


def measure(images):
    """Return all metrics, updated with some images."""
    metrics = ImageScores(LABELS, full=True)
    for image, scores in images:
        metrics.update(pair_segments(LABELS, *image, np.array([scores[i] for i in image[3]])))
    return metrics


def values(metrics):
    """Return the (C,) values of each figure, percent."""
    rows = metrics.per_class_rows()
    names = [column.class_name or name for name, column in COLUMNS.items()]
    return {
        name: np.array([row[name] for row in rows], float) for name in names if name in rows[0]
    }


def assert_equal(one, other):
    for name, expected in values(one).items():
        np.testing.assert_allclose(values(other)[name], expected, atol=1e-9, err_msg=name)


def assert_not_higher(before, after, names):
    for name in names:
        rise = values(after)[name] - values(before)[name]
        assert not (rise > 1e-9).any(), (name, rise)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_the_truth_scores_100_wherever_there_is_a_score(seeds):
    images = []
    for (gt_map, gt_segments, _, _, crowd), _ in map(scored_image, seeds):
        images.append(
            ((gt_map, gt_segments, gt_map, gt_segments, crowd), dict.fromkeys(gt_segments, 0.5))
        )
    present = {
        c
        for (_, segments, _, _, crowd), _ in images
        for i, c in segments.items()
        if i not in crowd
    }
    for name, column in values(measure(images)).items():
        scored = set(np.flatnonzero(~np.isnan(column)).tolist())
        if name in SEGMENTS:
            assert scored == {c for c in present if name not in THINGS or LABELS.is_thing[c]}, name
        np.testing.assert_allclose(column[sorted(scored)], 100, err_msg=name)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_scores_are_percent(seeds):
    for name, column in values(measure(map(scored_image, seeds))).items():
        known = column[~np.isnan(column)]
        assert (known >= 0).all() and (known <= 100 + 1e-9).all(), name


@given(SEED)
@settings(max_examples=40, deadline=None)
def test_ids_and_order_of_segments_do_not_matter(seed):
    (gt_map, gt_segments, pred_map, pred_segments, crowd), scores = scored_image(seed)
    rng = np.random.default_rng(seed)

    def rename(segment_map, segments):
        new = dict(
            zip(segments, (rng.permutation(1000)[: len(segments)] + 1).tolist(), strict=True)
        )
        new_map = np.zeros_like(segment_map)
        for old_id, new_id in new.items():
            new_map[segment_map == old_id] = new_id
        shuffled = rng.permutation(list(segments)).tolist()
        return new_map, {new[i]: segments[i] for i in shuffled}, new

    gt_map2, gt_segments2, gt_new = rename(gt_map, gt_segments)
    pred_map2, pred_segments2, pred_new = rename(pred_map, pred_segments)
    renamed = (gt_map2, gt_segments2, pred_map2, pred_segments2, {gt_new[i] for i in crowd})
    assert_equal(
        measure([((gt_map, gt_segments, pred_map, pred_segments, crowd), scores)]),
        measure([(renamed, {pred_new[i]: score for i, score in scores.items()})]),
    )


@given(st.lists(SEED, min_size=2, max_size=5), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_merged_shards_equal_a_single_run(seeds, cut):
    images = [scored_image(seed) for seed in seeds]
    merged, rest = measure(images[:cut]), measure(images[cut:])
    merged.merge(rest)
    assert_equal(measure(images), merged)


def matched_segments(metric, image, scores):
    """Yield each segment whose removal loses a match, and the image without it.

    Args:
        metric: class of a metric that counts matches like PQ.
        image: arguments of `pair_segments`.
        scores: by predicted segment.
    """
    gt_map, gt_segments, pred_map, pred_segments, crowd = image
    for removed in pred_segments:
        remaining = {i: c for i, c in pred_segments.items() if i != removed}
        painted = np.where(pred_map == removed, 0, pred_map)
        without = (gt_map, gt_segments, painted, remaining, crowd)
        before, after = metric(LABELS), metric(LABELS)
        before.update(pair_segments(LABELS, *image))
        after.update(pair_segments(LABELS, *without))
        if after.counts[0].sum() < before.counts[0].sum():
            yield removed, (without, scores)


@given(SEED, st.booleans())
@settings(max_examples=60, deadline=None)
def test_void_in_place_of_a_match_never_helps(seed, by_boundary):
    image, scores = scored_image(seed)
    before = measure([(image, scores)])
    metric = BoundaryQuality if by_boundary else PanopticQuality
    for _, without in matched_segments(metric, image, scores):
        names = ['pq', 'iou', 'pq_dagger', 'pc', *(['boundary_pq'] if by_boundary else [])]
        assert_not_higher(before, measure([without]), names)


@given(SEED)
@settings(max_examples=60, deadline=None)
def test_void_in_place_of_a_found_instance_never_helps_ap50(seed):
    (gt_map, gt_segments, *rest), scores = scored_image(seed)
    if (gt_map == 0).any():  # COCO has no void; without it, AP50 has the matches of PQ
        gt_map, gt_segments = np.where(gt_map == 0, 1 << 25, gt_map), {**gt_segments, 1 << 25: 3}
    image = (gt_map, gt_segments, *rest)
    before = measure([(image, scores)])
    for _, without in matched_segments(PanopticQuality, image, scores):
        assert_not_higher(before, measure([without]), ['ap50'])


@given(SEED)
@settings(max_examples=60, deadline=None)
def test_void_in_place_of_right_pixels_never_helps(seed):
    (gt_map, gt_segments, pred_map, pred_segments, crowd), scores = scored_image(seed)
    pair = pair_segments(LABELS, gt_map, gt_segments, pred_map, pred_segments, crowd)
    gt_class, pred_class = (
        np.vectorize({0: none, **segments}.get)(segment_map)
        for segment_map, segments, none in (
            (gt_map, gt_segments, -1),
            (pred_map, pred_segments, -2),
        )
    )
    removed = (gt_class == pred_class) & (np.random.default_rng(seed).random(gt_map.shape) < 0.3)
    assert (pair.intersection * pair.same_class).sum() == (gt_class == pred_class).sum()
    image = gt_map, gt_segments, np.where(removed, 0, pred_map), pred_segments, crowd
    before = measure([((gt_map, gt_segments, pred_map, pred_segments, crowd), scores)])
    assert_not_higher(before, measure([(image, scores)]), ['iou', 'iiou'])


@given(SEED)
@settings(max_examples=40, deadline=None)
def test_predictions_in_void_do_not_matter(seed):
    (gt_map, gt_segments, pred_map, pred_segments, crowd), scores = scored_image(seed)
    image = gt_map, gt_segments, np.where(gt_map == 0, 0, pred_map), pred_segments, crowd
    before = values(measure([((gt_map, gt_segments, pred_map, pred_segments, crowd), scores)]))
    after = values(measure([(image, scores)]))
    for name in ('iou', 'pc', 'iiou'):
        np.testing.assert_allclose(after[name], before[name], err_msg=name)
    stuff = ~LABELS.is_thing
    np.testing.assert_allclose(after['pq_dagger'][stuff], before['pq_dagger'][stuff])


@pytest.mark.parametrize('key', [row.key for row in METRICS if issubclass(row.make, SumMetric)])
def test_memory_does_not_grow_with_images(key):
    one, many = (measure([scored_image(0)] * n).metrics[key] for n in (1, 20))
    sizes = [
        sum(getattr(metric, attribute).nbytes for attribute in metric.sums)
        for metric in (one, many)
    ]
    assert sizes[0] == sizes[1] and set(vars(one)) == {'labels', *one.sums}
