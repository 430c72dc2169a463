# SPDX-License-Identifier: Apache-2.0
"""Encoding of ground truth, and errors in it."""

import json

import numpy as np
import pytest
from replay_bags import (
    CAMERA,
    DIVISOR,
    GT_TOPIC,
    IMAGE,
    START_NS,
    STEP_NS,
    STRING,
    classes,
    drive,
    gt_ids,
    image,
    string,
    write_bag,
    write_gt_folder,
)
from tiny_model import LABELS

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.replay.ground_truth import FolderGroundTruth, check_gt_stamps
from panoptic_ros.replay.ground_truth_topic import TopicGroundTruth
from panoptic_ros.replay.scores import ReplayScores


def slow_decode(ids):
    """Decode by the definition, pixel by pixel."""
    class_map, track_map = np.zeros(ids.shape, int), np.zeros(ids.shape, int)
    for y, x in np.ndindex(ids.shape):
        value = int(ids[y, x])
        class_map[y, x] = 255 if value < 0 else value // DIVISOR
        thing = value >= 0 and LABELS.labels[value // DIVISOR].is_thing
        track_map[y, x] = value % DIVISOR if thing else 0
    return class_map, track_map


def test_both_codings_say_the_same(tmp_path):
    bag = Bag(write_bag(tmp_path / 'bag', drive(4)))
    sources = [
        TopicGroundTruth(bag, GT_TOPIC, LABELS),
        FolderGroundTruth(write_gt_folder(tmp_path / 'folder', 4), LABELS),
    ]
    for source in sources:
        assert source.stamps() == {START_NS + i * STEP_NS for i in range(4)}
        for i in (0, 1, 3, 0, 2):
            found = source.at(START_NS + i * STEP_NS)
            class_map, track_map = slow_decode(gt_ids(i))
            assert np.array_equal(found.class_map, class_map)
            assert np.array_equal(found.track_map, track_map)
        assert source.at(START_NS + 17) is None


def test_classes_under_the_earlier_file_name_are_read(tmp_path, caplog):
    folder = write_gt_folder(tmp_path / 'gt', 2)
    (folder / 'classes.yaml').rename(folder / 'labels.yaml')
    assert len(FolderGroundTruth(folder, LABELS).stamps()) == 2
    assert 'labels.yaml has the name of an earlier version' in caplog.text
    (folder / 'classes.yaml').write_text(classes(LABELS))
    (folder / 'labels.yaml').write_text('ignored')
    caplog.clear()
    assert len(FolderGroundTruth(folder, LABELS).stamps()) == 2
    assert 'name of an earlier version' not in caplog.text


def test_truth_that_comes_before_its_image_or_out_of_turn_is_found(tmp_path):
    def messages():
        yield f'{GT_TOPIC}/label_info', STRING, 0, string(classes())
        for place, i in enumerate((1, 0, 3, 2, 12, 11)):
            stamp = START_NS + i * STEP_NS
            yield GT_TOPIC, IMAGE, place, image(gt_ids(i).astype('<i4')[..., None], stamp, '32SC1')

    source = TopicGroundTruth(Bag(write_bag(tmp_path / 'bag', messages())), GT_TOPIC, LABELS)
    for i in (0, 2, 1, 3, 11, 12):
        assert np.array_equal(
            source.at(START_NS + i * STEP_NS).class_map, slow_decode(gt_ids(i))[0]
        )


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('{', 'must be JSON with labels and label_divisor'),
        (json.dumps({'labels': LABELS.to_dicts()}), "KeyError: 'label_divisor'"),
        (
            json.dumps({'labels': LABELS.to_dicts(), 'label_divisor': 0}),
            'must be a whole number over',
        ),
        (json.dumps({'labels': [], 'label_divisor': 1}), 'a label set has 1 to 255 classes'),
        (json.dumps([1]), 'must be JSON with labels'),
    ],
)
def test_wrong_classes_are_refused(tmp_path, text, reason):
    bag = Bag(
        write_bag(
            tmp_path / 'bag',
            [
                (f'{GT_TOPIC}/label_info', STRING, 0, string(text)),
                (GT_TOPIC, IMAGE, 1, image(np.zeros((4, 4, 1), np.int32), 1, '32SC1')),
            ],
        )
    )
    with pytest.raises(ValueError, match=reason):
        TopicGroundTruth(bag, GT_TOPIC, LABELS)


def test_wrong_pixels_are_refused(tmp_path):
    import cv2

    folder = write_gt_folder(tmp_path / 'folder', 2)
    path = folder / f'{START_NS}.png'
    cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    source = FolderGroundTruth(folder, LABELS)
    with pytest.raises(ValueError, match=path.name):
        source.at(START_NS)
    cv2.imwrite(str(path), np.full((4, 4, 3), 77, np.uint8))
    with pytest.raises(ValueError, match='expected class 0 to 3 or 255'):
        source.at(START_NS)
    bag = Bag(
        write_bag(
            tmp_path / 'bag',
            [
                (f'{GT_TOPIC}/label_info', STRING, 0, string(classes())),
                (GT_TOPIC, IMAGE, 1, image(np.zeros((4, 4, 1), np.uint16), 1, 'mono16')),
            ],
        )
    )
    with pytest.raises(ValueError, match="must be encoded as 32SC1, got 'mono16'"):
        TopicGroundTruth(bag, GT_TOPIC, LABELS).at(1)
    with pytest.raises(ValueError, match=f'no topic {CAMERA}'):
        TopicGroundTruth(bag, CAMERA, LABELS)


def test_stamps_must_meet(tmp_path):
    source = FolderGroundTruth(write_gt_folder(tmp_path / 'folder', 3), LABELS)
    assert check_gt_stamps(source, {START_NS, START_NS + STEP_NS, 1}) == 1
    with pytest.raises(ValueError, match='no stamp of the ground truth'):
        check_gt_stamps(source, {1, 2})
    with pytest.raises(ValueError, match='the images none'):
        check_gt_stamps(source, set())


def test_nothing_seen_scores_as_all_missed(tmp_path):
    source = FolderGroundTruth(write_gt_folder(tmp_path / 'folder', 1), LABELS)
    scores = ReplayScores(LABELS)
    alone = scores.update(source.at(START_NS), None)
    assert alone.panoptic.counts.tolist() == [[0] * 4, [0] * 4, [1] * 4]
    assert scores.to_dict()['panoptic']['all']['pq'] == 0


def test_a_withheld_class_is_missed_but_not_false(tmp_path):
    gt = FolderGroundTruth(write_gt_folder(tmp_path / 'folder', 1), LABELS).at(START_NS)
    segment_map = np.where(gt.class_map == 2, 1, 0).astype(np.uint16)
    rows = np.zeros(1, segment_dtype(0))
    rows['segment_id'], rows['is_thing'] = 1, 1
    size = segment_map.shape
    counts = []
    for class_id in (2, 4):
        rows['class_id'] = class_id
        frame = PanopticFrame(segment_map, rows.copy(), Geometry(size, size, 1), 0.0, unknown_id=4)
        counts.append(ReplayScores(LABELS).update(gt, frame).panoptic.counts[:, 2].tolist())
    assert counts == [[1, 0, 0], [0, 0, 1]]
