# SPDX-License-Identifier: Apache-2.0
"""The recording of the demo for the Rerun viewer, read back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import rerun
from tiny_model import paint_scene

from panoptic_ros.core.image import CameraImage
from panoptic_ros.demo.rerun_log import RerunLog
from panoptic_ros.node.diagnostics import Level, Status, diagnostic_array
from panoptic_ros.node.topics import (
    DIAGNOSTICS,
    LABEL_INFO,
    MARKERS,
    RECORDED_INPUT,
    FrameSource,
    frame_topics,
    label_topics,
    topic_types,
)
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.runtime.load import load

TYPES = BagTypes()
KINDS = topic_types(vision=False) | {RECORDED_INPUT: 'sensor_msgs/msg/CompressedImage'}
START_NS = 1_700_000_000 * 10**9


@pytest.fixture(scope='module', autouse=True)
def strict():
    """Turn wrong values into errors; Rerun only warns of them."""
    rerun.set_strict_mode(True)
    yield
    rerun.set_strict_mode(False)


def header(i: int):
    return TYPES.make(
        'std_msgs/msg/Header', stamp=TYPES.time(START_NS + i * 10**8), frame_id='front'
    )


def marker(i: int, kind: int, action: int = 0, **fields):
    value = TYPES.make(
        'visualization_msgs/msg/Marker', header=header(i), type=kind, action=action, **fields
    )
    value.pose.position.x, value.pose.position.y, value.pose.position.z = 1.0, 2.0, 10.0 + i
    value.pose.orientation.w = 1.0
    value.scale.x, value.scale.y, value.scale.z = 0.5, 1.5, 2.5
    value.color.r = value.color.a = 1.0
    return value


def markers(i: int):
    """Return a box with label and velocity, and the end of another box."""
    corner, tip = (TYPES.make('geometry_msgs/msg/Point', x=1.0, z=z) for z in (4.0, 6.0))
    return TYPES.make(
        'visualization_msgs/msg/MarkerArray',
        markers=[
            marker(i, 1),
            marker(i, 9, text='ball #1'),
            marker(i, 0, points=[corner, tip]),
            marker(i, 1, action=2),
        ],
    )


def diagnostics(i: int, level: Level, state: str = 'active'):
    timing = {'rate hz': f'{10 + i}', 'end to end p50 ms': '5', 'end to end p95 ms': '9'}
    statuses = [
        Status('model', Level.OK, 'ok', {'state': state}),
        Status('timing', level, 'slow' if level else 'ok', timing),
    ]
    return diagnostic_array(TYPES, statuses, '/panoptic_node', 'cpu', TYPES.time(START_NS + i))


@pytest.fixture(scope='module')
def path(tiny_model, tmp_path_factory) -> Path:
    """Write a recording of six images, three of which have a result."""
    path = tmp_path_factory.mktemp('rerun') / 'recording.rrd'
    predictor = load(tiny_model, 'onnxruntime', 'cpu')
    image = CameraImage(paint_scene(64, 128))
    jpeg = cv2.imencode('.jpg', image.pixels)[1].reshape(-1)
    with RerunLog(path, KINDS) as log:

        def take(topic, message):
            log.take(topic, bytes(TYPES.store.serialize_cdr(message, KINDS[topic])))

        take(DIAGNOSTICS, diagnostics(0, Level.ERROR, 'configuring'))  # is not logged
        take(LABEL_INFO, label_topics(False)[0].make(TYPES, predictor.info.labels, 0.5, None))
        for i in range(6):
            take(
                RECORDED_INPUT,
                TYPES.make(
                    'sensor_msgs/msg/CompressedImage', header=header(i), format='jpeg', data=jpeg
                ),
            )
            if i > 2:  # superseded
                continue
            frame = predictor.predict(image)
            frame.segments['track_id'] = frame.segments['is_thing'] * (7 + i)
            source = FrameSource.of_model(header(i), image, frame, predictor.info.labels, 'camera')
            for topic in frame_topics(vision=False):
                if not topic.in_metres:
                    take(topic.name, topic.maker(TYPES)(source))
            take(MARKERS, markers(i))
            take(DIAGNOSTICS, diagnostics(i, Level.WARN if i == 1 else Level.OK))
    return path


@pytest.fixture(scope='module')
def columns(path) -> dict[str, dict[str, list]]:
    """Return the values of the recording by entity and component, in order of the stamps."""
    from rerun.chunk import RrdReader

    found: dict[str, dict[str, list]] = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if name not in ('rerun.controls.RowId', 'log_time'):
                values = batch.column(name)
                if name == 'stamp':
                    values = values.cast('int64')
                found.setdefault(chunk.entity_path, {}).setdefault(name, []).extend(
                    values.to_pylist()
                )
    return found


def test_everything_has_the_stamp_of_its_image(columns):
    stamps = [START_NS + i * 10**8 for i in range(3)]
    for entity in (
        '/camera/image',
        '/camera/image/classes',
        '/camera/image/segments',
        '/camera/image/tracks',
        '/world/boxes',
    ):
        assert np.abs(np.subtract(sorted(columns[entity]['stamp']), stamps)).max() < 1000, entity


def test_images_and_segments_are_those_of_the_topics(columns, tiny_model):
    (blob,) = columns['/camera/image']['EncodedImage:blob'][0]
    picture = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (64, 128, 3)
    frame = load(tiny_model, 'onnxruntime', 'cpu').predict(paint_scene(64, 128))
    for name, cell_map in (('classes', frame.semantic_map), ('segments', frame.segment_map)):
        (data,) = columns[f'/camera/image/{name}']['SegmentationImage:buffer'][0]
        ids = np.array(data, np.uint8).view(cell_map.dtype).reshape(64, 128)
        np.testing.assert_array_equal(ids, frame.geometry.to_camera(cell_map))


def test_classes_have_names_and_colours(columns):
    ((context,),) = columns['/camera']['AnnotationContext:context']
    names = {entry['class_id']: entry['class_description']['info']['label'] for entry in context}
    assert names == {0: 'floor', 1: 'wall', 2: 'ball', 3: 'box', 255: 'void'}


def test_tracks_are_boxes_of_things(columns):
    tracks = columns['/camera/image/tracks']
    assert tracks['Boxes2D:labels'][0] == ['ball #7 0.95', 'box #7 0.65']
    assert tracks['Boxes2D:class_ids'][0] == [2, 3]
    assert tracks['Boxes2D:centers'][0] == [[32, 32], [96, 32]]
    assert tracks['Boxes2D:half_sizes'][0] == [[16, 16], [16, 16]]


def test_markers_are_boxes_labels_and_arrows(columns):
    boxes = columns['/world/boxes']
    assert boxes['Boxes3D:centers'][1] == [[1, 2, 11]]  # without the one that is deleted
    assert boxes['Boxes3D:half_sizes'][1] == [[0.25, 0.75, 1.25]]
    assert columns['/world/labels']['Points3D:labels'][0] == ['ball #1']
    assert columns['/world/velocities']['Arrows3D:vectors'][0] == [[0, 0, 2]]


def test_diagnostics_are_curves_and_the_messages_that_change(columns):
    assert columns['/diagnostics/rate_hz']['Scalars:scalars'] == [[10], [11], [12]]
    assert columns['/diagnostics/latency_ms/p95']['Scalars:scalars'] == [[9]] * 3
    messages = columns['/diagnostics/messages']
    assert messages['TextLog:text'] == [
        ['model: ok'],
        ['timing: ok'],
        ['timing: slow'],
        ['timing: ok'],
    ]
    assert messages['TextLog:level'] == [['INFO'], ['INFO'], ['WARN'], ['INFO']]


def test_the_layout_is_in_the_file(path):
    from rerun.chunk import RrdReader

    assert len(RrdReader(path).blueprints()) == 1
