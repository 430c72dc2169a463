# SPDX-License-Identifier: Apache-2.0
"""Samples against frames made by hand."""

import json

import numpy as np
import pytest
from tiny_model import LABELS

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.metrics.registry import METRICS as ROWS
from panoptic_ros.metrics.scores import ImageScores
from panoptic_training.ablation import DELTA, METRICS
from panoptic_training.data.sample import Sample
from panoptic_training.evaluation.scoring import gt_segments, pair_of

FLOOR, WALL, BALL, BOX = range(4)
FULL = {name for row in ROWS if row.full for name in row.columns}
"""Headline figures that training goes without."""


def sample():
    """8 x 8: wall above floor; a ball, a crowd of balls, a box and a void column."""
    class_map = np.full((8, 8), FLOOR, np.uint8)
    class_map[:4] = WALL
    instance_map = np.zeros((8, 8), np.int32)
    class_map[2:6, 0:2], instance_map[2:6, 0:2] = BALL, 1
    class_map[2:6, 2:4] = BALL  # a crowd: a thing without an instance
    class_map[2:6, 4:6], instance_map[2:6, 4:6] = BOX, 300
    class_map[:, 7] = VOID_ID
    return Sample(np.zeros((8, 8, 3), np.uint8), class_map, instance_map)


def frame_of(segment_map, classes, stride=1):
    """A frame with these cells and the class of each segment id."""
    segments = np.zeros(len(classes), segment_dtype(2))
    segments['segment_id'], segments['class_id'] = list(classes), list(classes.values())
    geometry = Geometry((8, 8), (8, 8), stride)
    return PanopticFrame(np.asarray(segment_map, np.uint16), segments, geometry, 0.0)


def perfect():
    class_map, instance_map = sample().class_map, sample().instance_map
    ids = np.select(
        [
            instance_map == 1,
            instance_map == 300,
            class_map == BALL,
            class_map == WALL,
            class_map == FLOOR,
        ],
        [1, 2, 3, 4, 5],
        0,
    )
    return ids, {1: BALL, 2: BOX, 3: BALL, 4: WALL, 5: FLOOR}


def scored(*frames):
    scores = ImageScores(LABELS)
    for frame in frames:
        scores.update(pair_of(sample(), frame, LABELS))
    return scores


def test_ground_truth_has_a_segment_for_each_instance_and_class():
    segment_map, classes, crowds = gt_segments(sample(), LABELS.is_thing)
    assert classes == {
        FLOOR + 1: FLOOR,
        WALL + 1: WALL,
        BALL + 1: BALL,
        VOID_ID + 1: BALL,
        VOID_ID + 300: BOX,
    }
    assert crowds == {BALL + 1}
    assert (segment_map[:, 7] == 0).all()
    assert segment_map[3, 0] == VOID_ID + 1 and segment_map[3, 5] == VOID_ID + 300
    assert set(np.unique(segment_map)) == {0, *classes}


def test_an_image_of_nothing_but_void_has_no_segment():
    empty = Sample(
        np.zeros((2, 2, 3), np.uint8),
        np.full((2, 2), VOID_ID, np.uint8),
        np.zeros((2, 2), np.int32),
    )
    segment_map, classes, crowds = gt_segments(empty, LABELS.is_thing)
    assert (segment_map == 0).all() and classes == {} and crowds == set()


def test_the_truth_itself_scores_full_marks():
    summary = scored(frame_of(*perfect())).summary()
    assert summary == dict.fromkeys(('pq', 'sq', 'rq', 'pq_thing', 'pq_stuff', 'miou'), 100.0)


def test_crowds_need_not_be_found_but_their_pixels_have_a_class():
    ids, classes = perfect()
    ids[ids == 3] = 0
    del classes[3]
    summary = scored(frame_of(ids, classes)).summary()
    assert summary['pq'] == 100
    assert summary['miou'] == pytest.approx(100 - 50 / 4)  # half of the ball pixels are missed


def test_a_missed_box_and_a_ball_too_many():
    ids, classes = perfect()
    ids[ids == 2] = 0
    del classes[2]
    ids[7, 0:3], classes[6] = 6, BALL
    scores = scored(frame_of(ids, classes))
    result = scores.panoptic.compute()
    assert result.fn.tolist() == [0, 0, 0, 1] and result.fp.tolist() == [0, 0, 1, 0]
    floor = int((ids == 5).sum())
    floor_iou = floor / (floor + 3)
    expected = [100 * floor_iou, 100, 100 / 1.5, 0]
    np.testing.assert_allclose(result.pq, expected)
    assert scores.summary()['pq_thing'] == pytest.approx(100 / 3)


def test_frames_of_coarse_cells_are_compared_at_the_samples_size():
    ids, classes = perfect()
    coarse = frame_of(ids[::2, ::2], classes, stride=2)  # every edge lies on a cell but the void
    assert scored(coarse).summary()['pq'] == 100


def test_counts_add_up_over_processes():
    ids, classes = perfect()
    worse = frame_of(np.where(ids == 1, 0, ids), {k: v for k, v in classes.items() if k != 1})
    both, one, other = (
        scored(frame_of(ids, classes), worse),
        scored(frame_of(ids, classes)),
        scored(worse),
    )
    for total, addend in zip(one.counts, other.counts, strict=True):
        total += addend
    assert one.summary() == both.summary()


def test_without_images_nothing_is_claimed():
    assert all(np.isnan(value) for value in ImageScores(LABELS).summary().values())


def images():
    """Frames of every kind: perfect, without a ball, coarse."""
    ids, classes = perfect()
    fewer = {k: v for k, v in classes.items() if k != 1}
    return (
        frame_of(ids, classes),
        frame_of(np.where(ids == 1, 0, ids), fewer),
        frame_of(ids[::2, ::2], classes, stride=2),
    )


def full(frames):
    scores = ImageScores(LABELS, full=True)
    for frame in frames:
        scores.update(pair_of(sample(), frame, LABELS))
    return scores


def test_shards_merge_to_the_whole():
    whole, one, other = full(images()), full(images()[:2]), full(images()[2:])
    one.merge(other)
    assert one.to_dict() == whole.to_dict() and one.format() == whole.format()


def test_scores_of_other_metrics_or_classes_are_refused():
    scores = ImageScores(LABELS)
    with pytest.raises(ValueError, match='same metrics'):
        scores.merge(full([]))
    with pytest.raises(ValueError, match='same label set'):
        scores.merge(ImageScores(LabelSet(LABELS.labels[:2])))


def test_full_scores_add_figures_to_those_of_training():
    cheap, scores = scored(*images()), full(images())
    assert cheap.summary().items() <= scores.summary().items()
    assert set(scores.summary()) - set(cheap.summary()) == FULL
    document = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert cheap.to_dict().items() <= document.items()
    assert document['average_precision']['ap'] == scores.summary()['ap']
    row = scores.per_class_rows()[BALL]
    assert row['name'] == 'ball' and set(row) > {'category_id', 'pq', 'iou', 'ap'}
    assert len({tuple(row) for row in scores.per_class_rows()}) == 1  # a table's columns
    assert f'mIoU {cheap.summary()["miou"]:.1f}, 3 images' in cheap.format()
    assert cheap.format() in scores.format()


def test_every_metric_of_a_study_is_where_the_study_looks():
    document = {**full(images()).to_dict(), 'overlap': {'accuracy': 0.0}}  # evaluate adds this
    read = [column.read(document) for name, column in METRICS.items() if name != DELTA]
    assert all(isinstance(value, float) for value in read)
