# SPDX-License-Identifier: Apache-2.0
"""PQ-dagger, Parsing Covering, iIoU and boundary PQ against their definitions with masks."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_segments import CAR, LABELS, PERSON, ROAD, SKY, random_image, strip

from panoptic_ros.metrics.average_precision import AveragePrecision
from panoptic_ros.metrics.boundary import BoundaryQuality, boundaries, depth_px
from panoptic_ros.metrics.covering import ParsingCovering
from panoptic_ros.metrics.image_pair import pair_segments
from panoptic_ros.metrics.instance_iou import InstanceIoU
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.pq_dagger import PQDagger

SEEDS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3)


def measure(metric, images):
    for image in images:
        metric.update(pair_segments(LABELS, *image))
    return metric


def dagger(images):
    return measure(PQDagger(LABELS), images).compute()


def slow_iou(gt, pred, void):
    """Return the IoU of two masks outside of the truth's void."""
    union = ((gt | pred) & ~void).sum()
    return (gt & pred).sum() / union if union else 0.0


def true_segments(image, class_id):
    """Return the masks of a class's true segments, without crowds."""
    gt_map, gt_segments, _, _, crowd = image
    return [
        gt_map == g
        for g, c in gt_segments.items()
        if c == class_id and g not in crowd and (gt_map == g).any()
    ]


def predicted_segments(image, class_id):
    """Return the masks of a class's predicted segments."""
    return [image[2] == p for p, c in image[3].items() if c == class_id]


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_pq_dagger_equals_its_definition(seeds):
    images = [random_image(seed) for seed in seeds]
    values = dagger(images).values
    things = measure(PanopticQuality(LABELS), images).compute().pq
    np.testing.assert_array_equal(values[[CAR, PERSON]], things[[CAR, PERSON]])
    for class_id in (ROAD, SKY):
        ious = [
            sum(slow_iou(gt, pred, image[0] == 0) for pred in predicted_segments(image, class_id))
            for image in images
            for gt in true_segments(image, class_id)
        ]
        np.testing.assert_allclose(values[class_id], 100 * np.mean(ious) if ious else np.nan)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_parsing_covering_equals_its_definition(seeds):
    images = [random_image(seed) for seed in seeds]
    values = measure(ParsingCovering(LABELS), images).compute().values
    for class_id in range(len(LABELS)):
        covered = area = 0
        for image in images:
            for gt in true_segments(image, class_id):
                area += gt.sum()
                covered += gt.sum() * max(
                    (
                        slow_iou(gt, pred, image[0] == 0)
                        for pred in predicted_segments(image, class_id)
                    ),
                    default=0,
                )
        np.testing.assert_allclose(values[class_id], 100 * covered / area if area else np.nan)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_instance_iou_equals_its_definition(seeds):
    images = [random_image(seed) for seed in seeds]
    values = measure(InstanceIoU(LABELS), images).compute().values
    assert np.isnan(values[[ROAD, SKY]]).all()
    for class_id in (CAR, PERSON):
        sizes = [gt.sum() for image in images for gt in true_segments(image, class_id)]
        tp = fn = fp = 0.0
        for image in images:
            gt_map, gt_segments, pred_map, pred_segments, _ = image
            pred = np.isin(pred_map, [p for p, c in pred_segments.items() if c == class_id])
            for gt in true_segments(image, class_id):
                weight = np.mean(sizes) / gt.sum()
                tp += weight * (gt & pred).sum()
                fn += weight * (gt & ~pred).sum()
            others = [g for g, c in gt_segments.items() if c != class_id]
            fp += (np.isin(gt_map, others) & pred).sum()
        total = tp + fp + fn
        np.testing.assert_allclose(values[class_id], 100 * tp / total if total else np.nan)


def slow_boundary(mask, depth):
    """Return the pixels of a mask within `depth` of a pixel outside it or of the image's edge."""
    height, width = mask.shape
    result = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        result[y, x] = any(
            not (0 <= v < height and 0 <= u < width) or not mask[v, u]
            for v in range(y - depth, y + depth + 1)
            for u in range(x - depth, x + depth + 1)
        )
    return result


@pytest.mark.parametrize('depth', [1, 2, 3])
@pytest.mark.parametrize('size', [(12, 17), (1, 9), (1, 1)])
def test_boundaries_equal_their_definition(size, depth):
    rng = np.random.default_rng(depth)
    for block in (1, 3, 5):
        cells = rng.integers(0, 3, (size[0] // block + 1, size[1] // block + 1))
        segment_map = np.kron(cells, np.ones((block, block), int))[: size[0], : size[1]] * 70000
        expected = np.any(
            [slow_boundary(segment_map == i, depth) for i in np.unique(segment_map)], axis=0
        )
        np.testing.assert_array_equal(boundaries(segment_map, depth), expected)


@pytest.mark.parametrize(
    ('size', 'depth'), [((1024, 2048), 46), ((480, 640), 16), ((3, 4), 1)]
)  # 2 % of 2289.7, of 800, of 5
def test_depth_follows_the_diagonal(size, depth):
    assert depth_px(size) == depth


def slow_boundary_quality(images):
    """Return (C,) IoU sums and (3, C) counts."""
    iou_sum, counts = np.zeros(len(LABELS)), np.zeros((3, len(LABELS)), int)
    for image in images:
        gt_map, gt_segments, pred_map, pred_segments, crowd = image
        void, found = gt_map == 0, set()
        depth = max(1, round(0.02 * np.sqrt(gt_map.shape[0] ** 2 + gt_map.shape[1] ** 2)))
        for g, class_id in gt_segments.items():
            gt = gt_map == g
            if g in crowd or not gt.any():
                continue
            gt_edge, hit = slow_boundary(gt, depth), False
            for p, pred_class in pred_segments.items():
                pred = pred_map == p
                iou = min(
                    slow_iou(gt, pred, void), slow_iou(gt_edge, slow_boundary(pred, depth), void)
                )
                if pred_class == class_id and iou > 0.5:
                    iou_sum[class_id] += iou
                    found.add(p)
                    hit = True
            counts[0 if hit else 2, class_id] += 1
        for p, class_id in pred_segments.items():
            pred = pred_map == p
            ignored = void | np.isin(gt_map, [g for g in crowd if gt_segments[g] == class_id])
            if p not in found and pred.any() and 2 * (pred & ignored).sum() <= pred.sum():
                counts[1, class_id] += 1
    return iou_sum, counts


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_boundary_quality_equals_its_definition(seeds):
    images = [random_image(seed) for seed in seeds]
    metric = measure(BoundaryQuality(LABELS), images)
    iou_sum, counts = slow_boundary_quality(images)
    np.testing.assert_array_equal(metric.counts, counts)
    np.testing.assert_allclose(metric.iou_sum, iou_sum)


def test_a_shifted_outline_matches_by_mask_and_not_by_boundary():
    """80 x 80 squares, 7 px apart: mask IoU is over 0.5, Boundary IoU (depth 3) is not."""
    gt, pred = np.zeros((100, 100), int), np.zeros((100, 100), int)
    gt[5:85, 5:85] = pred[12:92, 12:92] = 1
    image = gt + 1, {1: ROAD, 2: CAR}, pred + 1, {1: ROAD, 2: CAR}
    assert measure(PanopticQuality(LABELS), [image]).counts[0, CAR] == 1
    assert measure(BoundaryQuality(LABELS), [image]).counts[:, CAR].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ('gt', 'pred', 'crowd', 'expected'),
    [
        # IoU under one half: 0 in PQ, the IoU of the stuff in PQ-dagger.
        ([(3, 10)], [(3, 4), (0, 6)], (), 40),
        # Stuff that is only predicted is ignored; the road is found completely.
        ([(3, 10), (0, 5)], [(3, 10), (4, 5)], (), 100),
        # Pixels that are void in the truth do not count.
        ([(3, 10), (0, 5)], [(3, 15)], (), 100),
        ([(3, 10)], [(0, 10)], (), 0),
        ([(3, 10)], [(3, 4), (0, 6)], (3,), np.nan),
    ],
)
def test_rules_of_pq_dagger(gt, pred, crowd, expected):
    classes = {3: ROAD, 4: SKY}
    image = (
        strip(*gt),
        {i: classes[i] for i, _ in gt if i},
        strip(*pred),
        {i: classes[i] for i, _ in pred if i},
        crowd,
    )
    np.testing.assert_allclose(dagger([image]).mean, expected)


@pytest.mark.parametrize(
    ('gt', 'pred', 'expected'),
    [
        ([(1, 30), (2, 10)], [(1, 30), (0, 10)], 75),  # weighted by area
        ([(1, 10), (2, 10)], [(1, 20)], 50),  # one prediction may cover two
        ([(1, 20)], [(1, 14), (2, 6)], 70),  # only the best one counts
        ([(1, 10), (0, 5)], [(1, 10), (2, 5)], 100),  # false positives are ignored
    ],
)
def test_rules_of_parsing_covering(gt, pred, expected):
    gt_cars, pred_cars = ({i: CAR for i, _ in runs if i} for runs in (gt, pred))
    image = strip(*gt), gt_cars, strip(*pred), pred_cars
    assert measure(ParsingCovering(LABELS), [image]).compute().mean == pytest.approx(expected)


@pytest.mark.parametrize(
    ('pred', 'crowd', 'expected'),
    [
        ([(1, 30), (0, 10), (3, 40)], (), 50),  # the large one is found: half of the instances
        ([(0, 30), (1, 10), (3, 40)], (), 50),  # the small one is found: the same
        ([(1, 80)], (), 50),  # both are found, with 40 px of road: 40 / (40 + 40)
        ([(1, 30), (0, 50)], (2,), 100),  # a missed crowd does not count
        ([(1, 40), (0, 40)], (2,), 100),  # nor does one that is found
    ],
)
def test_rules_of_instance_iou(pred, crowd, expected):
    """The truth has cars of 30 and of 10 pixels, and 40 pixels of road."""
    gt = strip((1, 30), (2, 10), (3, 40)), {1: CAR, 2: CAR, 3: ROAD}
    image = (*gt, strip(*pred), {i: {1: CAR, 3: ROAD}[i] for i, _ in pred if i}, crowd)
    result = measure(InstanceIoU(LABELS), [image]).compute()
    assert result.values[CAR] == result.mean == result.things == pytest.approx(expected)


@pytest.mark.parametrize('metric', [ParsingCovering, InstanceIoU])
def test_scores_without_images_are_nan_and_null(metric):
    result = metric(LABELS).compute()
    assert np.isnan(result.values).all()
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False)) == {
        result.name: None,
        'things': None,
        'stuff': None,
        'per_class': [{'name': name, result.name: None} for name in LABELS.names],
    }


@pytest.mark.parametrize('metric', [PQDagger, ParsingCovering, InstanceIoU, BoundaryQuality])
def test_maps_without_pixels_add_nothing(metric):
    empty = np.zeros((0, 5), np.uint16)
    measured = measure(metric(LABELS), [(empty, {}, empty, {})])
    assert not any(getattr(measured, name).any() for name in metric.sums)


def test_a_map_without_pixels_is_an_image_without_instances():
    metric = AveragePrecision(LABELS)
    empty = np.zeros((0, 5), int)
    metric.update(pair_segments(LABELS, empty, {}, empty, {}, pred_scores=np.zeros(0)))
    assert metric.images == [{'size': [0, 5], 'gt': [], 'pred': []}]
    assert np.isnan(metric.compute().ap.mean)
