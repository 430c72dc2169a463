# SPDX-License-Identifier: Apache-2.0
"""Metrics on COCO's published panoptic sample, against itself and a copy shifted by 8 pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from panoptic_ros.core.coco_format import read_annotations, read_ids, read_json, read_labels
from panoptic_ros.metrics.average_precision import AveragePrecision
from panoptic_ros.metrics.boundary import BoundaryQuality
from panoptic_ros.metrics.covering import ParsingCovering
from panoptic_ros.metrics.image_pair import pair_segments
from panoptic_ros.metrics.instance_iou import InstanceIoU
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.pq_dagger import PQDagger

FOLDER = Path(__file__).parents[3] / 'shared/data/coco_panoptic_sample'
FILE = FOLDER / 'panoptic_examples.json'
DEPTH = 15
"""2 % of both images' diagonals, px."""

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason='needs coco_panoptic_sample')


def read_sample(shift):
    """Return the label set, and the arguments of `pair_segments` for each image."""
    document = read_json(FILE)
    labels = read_labels(document, FILE)
    found = []
    for annotation in read_annotations(document, FILE, FILE.with_suffix(''), labels).values():
        ids = read_ids(annotation)
        classes = {i: labels.class_id_of_category[c] for i, c in annotation.category_of.items()}
        found.append((ids, classes, np.roll(ids, shift, axis=1), classes, annotation.crowd))
    return labels, found


def add_all(metric, images):
    for image in images:
        metric.update(pair_segments(metric.labels, *image))
    return metric


def test_masks_equal_the_published_ones():
    labels, images = read_sample(0)
    metric = AveragePrecision(labels)
    for image in images:
        metric.update(pair_segments(labels, *image, pred_scores=np.ones(len(image[3]))))
    document = json.loads((FOLDER / 'panoptic_coco_detection_format.json').read_text())
    is_thing = {
        c['id']: labels.is_thing[labels.class_id_of_category[c['id']]]
        for c in read_json(FILE)['categories']
    }
    published = sorted(
        a['segmentation']['counts'] for a in document['annotations'] if is_thing[a['category_id']]
    )
    assert sorted(mask for image in metric.images for *_, mask in image['gt']) == published
    result = metric.compute()
    assert result.ap.mean == pytest.approx(100) and result.ap75.mean == pytest.approx(100)


def iou(one, other, void):
    union = ((one | other) & ~void).sum()
    return (one & other).sum() / union if union else 0.0


def edge(mask):
    """Return the boundary of a mask: the pixels that DEPTH erosions remove."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=DEPTH)


@pytest.mark.parametrize('shift', [0, 8])
def test_the_other_metrics_equal_their_definitions(shift):
    labels, images = read_sample(shift)
    assert [round(0.02 * np.hypot(*image[0].shape)) for image in images] == [DEPTH, DEPTH]
    covered, area, stuff_iou, boundary_iou, hits = np.zeros((5, len(labels)))
    count = np.zeros(len(labels), int)
    for gt_map, classes, pred_map, _, crowd in images:
        void = gt_map == 0
        for g, class_id in classes.items():
            if g in crowd:
                continue
            gt = gt_map == g
            rivals = [pred_map == p for p, c in classes.items() if c == class_id]
            ious = [iou(gt, pred, void) for pred in rivals]
            covered[class_id] += gt.sum() * max(ious)
            area[class_id] += gt.sum()
            stuff_iou[class_id] += sum(ious)
            count[class_id] += 1
            smaller = [
                min(value, iou(edge(gt), edge(pred), void))
                for value, pred in zip(ious, rivals, strict=True)
            ]
            boundary_iou[class_id] += sum(value for value in smaller if value > 0.5)
            hits[class_id] += sum(value > 0.5 for value in smaller)
    present = count > 0
    panoptic = add_all(PanopticQuality(labels), images).compute()
    dagger = add_all(PQDagger(labels), images).compute()
    expected = np.where(labels.is_thing, panoptic.pq, 100 * stuff_iou / np.maximum(count, 1))
    np.testing.assert_allclose(dagger.values[present], expected[present])
    covering = add_all(ParsingCovering(labels), images).compute().values
    np.testing.assert_allclose(covering[present], 100 * covered[present] / area[present])
    boundary = add_all(BoundaryQuality(labels), images)
    np.testing.assert_allclose(boundary.iou_sum, boundary_iou)
    np.testing.assert_array_equal(boundary.counts[0], hits)
    things = add_all(InstanceIoU(labels), images).compute()
    if shift == 0:
        assert dagger.mean == things.mean == boundary.compute().all.pq == 100
    else:  # all stuff passes PQ's threshold
        assert boundary.compute().all.pq < panoptic.all.pq == pytest.approx(dagger.mean)
