# SPDX-License-Identifier: Apache-2.0
"""A node with a model file that withholds the class of unsure segments."""

import json
from itertools import count

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from node_process import image_message
from tiny_model import paint_scene

from panoptic_ros import read_instances
from panoptic_ros.core.labels import UNKNOWN, VOID_ID
from panoptic_ros.core.model_file import load_onnx, read_info, write_model_file

pytestmark = pytest.mark.ros


def test_withheld_segments_are_a_class_of_their_own(start, graph, tiny_model, tmp_path):
    """Maps, table and label_info of one image agree; kinds and tracks stay, void stays void."""
    path = tmp_path / 'unsure.onnx'
    info = read_info(tiny_model).with_unknown({'ball': 0.99, 'floor': 0.99})
    write_model_file(load_onnx(tiny_model), info, path)
    node = start({'model': path, 'input_reliability': 'reliable', 'input_transport': 'raw'})
    node.wait_for_log('model is loaded')
    graph.wait_for_input()
    names = ('segments', 'semantic', 'instances', 'label_info')
    graph.subscribe(*names)
    scene = paint_scene(64, 128)
    scene[:8, :8] = 0  # void
    numbers = count(1)

    def answered():
        graph.image.publish(image_message(scene, next(numbers)))
        graph.spin(0.1)
        tables = graph.messages['instances']
        return all(graph.messages[name] for name in names) and any(
            read_instances(table)['track_id'].any() for table in tables
        )

    graph.until(answered)
    last = graph.messages['instances'][-1].header.frame_id

    def maps():
        found = {}
        for name, dtype in (('segments', np.uint16), ('semantic', np.uint8)):
            for message in graph.messages[name]:
                if message.header.frame_id == last:
                    found[name] = np.frombuffer(message.data, dtype).reshape(64, 128)
        return len(found) == 2 and found

    found = graph.until(maps)
    labels = json.loads(graph.messages['label_info'][-1].data)['labels']
    unknown = len(labels) - 1
    assert labels[unknown]['name'] == UNKNOWN
    rows = read_instances(graph.messages['instances'][-1])
    kinds = {(int(r['class_id']), int(r['is_thing']), bool(r['track_id'])) for r in rows}
    assert kinds == {(unknown, 0, False), (1, 0, False), (unknown, 1, True), (3, 1, True)}
    for row in rows:
        mask = found['segments'] == row['segment_id']
        assert mask.any() and set(found['semantic'][mask].tolist()) == {int(row['class_id'])}
    assert (found['semantic'][:8, :8] == VOID_ID).all()
    assert set(np.unique(found['semantic']).tolist()) == {1, 3, unknown, VOID_ID}
