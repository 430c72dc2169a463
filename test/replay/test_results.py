# SPDX-License-Identifier: Apache-2.0
"""The results bag on a machine that has vision_msgs."""

import json

import pytest

pytest.importorskip('rosbags', reason='needs rosbags: pip install "panoptic_ros[bag]"')

import numpy as np
from rosbags.highlevel import AnyReader
from tiny_model import LABELS
from vision_messages import install_definitions

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.replay.results_bag import ResultsBag


def test_both_forms_of_the_labels_are_recorded(tmp_path, monkeypatch):
    install_definitions(tmp_path / 'ros', monkeypatch)
    rows = np.zeros(2, segment_dtype(1))
    rows['is_thing'], rows['track_id'] = (0, 1), (0, 7)
    geometry = Geometry((8, 8), (8, 8), 1)
    frame = PanopticFrame(np.zeros((8, 8), np.uint16), rows, geometry, 1.0)
    with ResultsBag(tmp_path / 'bag', {'camera': ''}, LABELS, {'output_scale': 'camera'}) as bag:
        bag.add_labels(5 * 10**9, 0.25)
        bag.add(
            'camera',
            5 * 10**9,
            BagTypes().make('std_msgs/msg/Header', frame_id='front'),
            CameraImage(np.zeros((8, 8, 3), np.uint8)),
            frame,
        )
    with AnyReader([tmp_path / 'bag']) as reader:
        messages = {
            connection.topic: reader.deserialize(data, connection.msgtype)
            for connection, _, data in reader.messages()
        }
        latched = {
            c.topic
            for c in reader.connections
            if c.ext.offered_qos_profiles[0].durability.name == 'TRANSIENT_LOCAL'
        }
    values = json.loads(messages['/panoptic/label_info'].data)
    assert values == {'labels': LABELS.as_drawn().to_dicts(), 'score_threshold': 0.25}
    names = messages['/panoptic/label_info_vision']
    assert [(c.class_id, c.class_name) for c in names.class_map] == list(enumerate(LABELS.names))
    assert (names.threshold, names.header.stamp.sec) == (0.25, 5)
    assert latched == {'/panoptic/label_info', '/panoptic/label_info_vision'}
    (detection,) = messages['/panoptic/detections'].detections
    assert detection.id == '7'
