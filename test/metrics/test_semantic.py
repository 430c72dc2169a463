# SPDX-License-Identifier: Apache-2.0
"""Mean IoU against its definition, pixel by pixel."""

import json

import numpy as np
import pytest

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_ros.metrics.semantic import MeanIoU
from panoptic_ros.metrics.video_frame import measure_frame

LABELS = LabelSet(
    tuple(
        Label(name, False, (i, i, i), i) for i, name in enumerate(('road', 'sky', 'tree', 'fence'))
    )
)


def overlaps(gt, pred):
    """Return the argument of `MeanIoU.update` for two class maps."""
    no_tracks = np.zeros_like(gt), np.zeros_like(pred)
    return measure_frame(gt, no_tracks[0], pred, no_tracks[1], LABELS)


def slow_iou(images):
    iou = []
    for c in range(len(LABELS)):
        both = union = 0
        for gt, pred in images:
            counts = gt != VOID_ID
            both += ((gt == c) & (pred == c) & counts).sum()
            union += (((gt == c) | (pred == c)) & counts).sum()
        iou.append(100 * both / union if union else np.nan)
    return iou


@pytest.mark.parametrize('seed', range(4))
def test_it_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    values = np.array([0, 1, 2, VOID_ID], np.uint8)  # fence never occurs
    images = [tuple(rng.choice(values, (2, 9, 13))) for _ in range(3)]
    at_once, first, rest = MeanIoU(LABELS), MeanIoU(LABELS), MeanIoU(LABELS)
    for i, image in enumerate(images):
        at_once.update(overlaps(*image))
        (rest if i else first).update(overlaps(*image))
    np.testing.assert_allclose(at_once.compute().iou, slow_iou(images))
    assert at_once.compute().miou == pytest.approx(np.nanmean(slow_iou(images)))
    first.merge(rest)
    np.testing.assert_array_equal(first.confusion, at_once.confusion)


@pytest.mark.parametrize(
    ('gt', 'pred', 'expected'),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], [100, 100]),
        ([0, 0, 255, 255], [0, 0, 1, 2], [100]),  # predictions in void are ignored
        ([0, 0, 1, 1], [0, 255, 1, 1], [50, 100]),  # void is an error where there is a class
        ([0, 0, 0, 0], [1, 1, 1, 1], [0, 0]),  # a class that is only predicted counts with IoU 0
    ],
)
def test_rules(gt, pred, expected):
    metric = MeanIoU(LABELS)
    metric.update(overlaps(np.array([gt], np.uint8), np.array([pred], np.uint8)))
    iou = metric.compute().iou
    np.testing.assert_allclose(iou[~np.isnan(iou)], expected)


def test_json_has_null_for_absent_classes():
    metric = MeanIoU(LABELS)
    assert metric.compute().to_dict()['miou'] is None
    metric.update(overlaps(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)))
    document = json.loads(json.dumps(metric.compute().to_dict(), allow_nan=False))
    assert document == {
        'miou': 100,
        'per_class': [
            {'name': 'road', 'iou': 100},
            *({'name': n, 'iou': None} for n in LABELS.names[1:]),
        ],
    }


@pytest.mark.parametrize(
    ('gt', 'message'),
    [(np.full((2, 2), 4), 'ground truth: class id 4'), (np.zeros((2, 3), int), 'same size')],
)
def test_bad_input_is_refused(gt, message):
    metric = MeanIoU(LABELS)
    with pytest.raises(ValueError, match=message):
        metric.update(overlaps(gt, np.zeros((2, 2), int)))
    assert not metric.confusion.any()


def test_only_the_same_labels_merge():
    with pytest.raises(ValueError, match='same label set'):
        MeanIoU(LABELS).merge(MeanIoU(LabelSet(LABELS.labels[:2])))
