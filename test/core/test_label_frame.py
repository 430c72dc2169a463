# SPDX-License-Identifier: Apache-2.0
"""Ground truth as a frame."""

import numpy as np

from panoptic_ros.core.label_frame import frame_of_labels
from panoptic_ros.core.labels import VOID_ID, Label, LabelSet

LABELS = LabelSet((Label('road', False, (255, 0, 0), 1), Label('car', True, (0, 0, 255), 2)))


def test_classes_and_instances_become_segments():
    class_map, instance_map = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.int32)
    class_map[:10] = VOID_ID
    class_map[20:30, 10:30], instance_map[20:30, 10:30] = 1, 70_000
    class_map[35:, 40:] = 1  # a crowd
    frame = frame_of_labels(class_map, instance_map, LABELS, tracks=True)
    np.testing.assert_array_equal(frame.semantic_map, class_map)
    rows = {int(row['area']): row for row in frame.segments}
    assert sorted(rows) == [100, 200, 1500]
    car = rows[200]
    assert [car[name] for name in ('bbox_x', 'bbox_y', 'bbox_w', 'bbox_h')] == [10, 20, 20, 10]
    assert car['is_thing'] and car['track_id'] == 70_000 and rows[100]['track_id'] == 0
    assert not rows[1500]['is_thing'] and not rows[100]['is_thing'], 'a crowd is no thing'
    plain = frame_of_labels(class_map, instance_map, LABELS)
    assert plain.segments['track_id'].tolist() == [0, 0, 0]


def test_an_image_without_labels_has_no_segments():
    frame = frame_of_labels(np.full((3, 4), VOID_ID, np.uint8), np.zeros((3, 4), int), LABELS)
    assert len(frame.segments) == 0 and not frame.segment_map.any()
