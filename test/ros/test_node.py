# SPDX-License-Identifier: Apache-2.0
"""The node as a process with its topics, services and parameters."""

import json
import signal
import time
from itertools import count

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from node_process import OUTPUTS, Graph, NodeProcess, header, image_message
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from sensor_msgs.msg import CompressedImage
from tiny_model import LABELS, make_tiny_model, paint_scene

from panoptic_ros import read_instances
from panoptic_ros.core.labels import VOID_ID

pytestmark = pytest.mark.ros

NUMBERS = count(1)
"""Image numbers, which increase over all tests of a node, as stamps must not go back."""


@pytest.fixture(scope='module')
def node(ros_domain, tiny_model, tmp_path_factory):
    """Start an active node that all tests share; each test restores its state."""
    path = tmp_path_factory.mktemp('node')
    process = NodeProcess(
        path / 'log',
        {'model': tiny_model, 'input_reliability': 'reliable', 'input_transport': 'raw'},
    )
    yield process
    assert process.end(signal.SIGINT) == 0, process.log
    assert 'Traceback' not in process.log


@pytest.fixture
def running(node, graph):
    """Return the client node when the node has subscribed."""
    node.wait_for_log('model is loaded')
    graph.wait_for_input()
    graph.forget_messages()
    return graph


def send(graph: Graph, rgb: np.ndarray, *outputs: str, **changes) -> dict:
    """Publish an image until its results arrive, as the discovery of subscriptions takes time."""
    graph.subscribe(*outputs)
    while True:
        message = image_message(rgb, next(NUMBERS), **changes)
        frame_id = message.header.frame_id
        graph.image.publish(message)

        def results(frame_id=frame_id):
            found = {
                name: m
                for name in outputs
                for m in graph.messages[name]
                if m.header.frame_id == frame_id
            }
            return len(found) == len(outputs) and found

        end_s = time.monotonic() + 1
        while time.monotonic() < end_s:
            if found := results():
                for result in found.values():
                    assert result.header == message.header
                return found
            graph.spin(0.01)


def pixels(message) -> np.ndarray:
    dtype, channels = {'mono16': ('<u2', 1), 'mono8': ('u1', 1), 'rgb8': ('u1', 3)}[
        message.encoding
    ]
    assert message.step == message.width * channels * np.dtype(dtype).itemsize
    shape = (message.height, message.width) + ((3,) if channels == 3 else ())
    return np.frombuffer(message.data, dtype).reshape(shape)


def test_all_topics_agree_with_the_scene_and_each_other(running):
    scene = paint_scene(480, 960)
    found = send(running, scene, *OUTPUTS)
    segments, semantic = pixels(found['segments']), pixels(found['semantic'])
    overlay, rows = pixels(found['overlay']), read_instances(found['instances'])
    assert segments.shape == semantic.shape == (480, 960)
    assert overlay.shape == (480, 960, 3)

    # The table is a key into the map, and its numbers are those of the map's pixels.
    assert set(np.unique(segments)) - {0} == set(rows['segment_id'])
    confidence = pixels(found['confidence'])
    assert not confidence[segments == 0].any() and confidence.shape == segments.shape
    for row in rows:
        mask = segments == row['segment_id']
        assert (confidence[mask] == int(255 * row['score'])).all()
        y, x = np.nonzero(mask)
        assert (semantic[mask] == row['class_id']).all()
        assert abs(mask.sum() - row['area']) <= 0.02 * row['area']
        assert abs(x.mean() + 0.5 - row['u']) < 8
        assert abs(y.mean() + 0.5 - row['v']) < 8
        assert abs(x.min() - row['bbox_x']) < 8
        assert abs(y.max() + 1 - row['bbox_y'] - row['bbox_h']) < 8
        assert row['is_thing'] == LABELS.is_thing[row['class_id']]
        assert (row['track_id'] > 0) == row['is_thing']
    assert np.isnan(rows['x']).all()
    assert sorted(rows['class_id']) == [0, 1, 2, 3]

    # Classes away from the edges of the scene.
    classes = np.array([[1, 2, 1, 3, 1], [0, 2, 0, 3, 0]])
    np.testing.assert_array_equal(semantic[(180, 300), :][:, (60, 240, 480, 720, 900)], classes)
    # The overlay still shows the image under the colours: red stays mostly red.
    assert overlay[200, 200, 0] > 200 > 60 > overlay[200, 200, 2]


def test_label_info_is_latched_and_names_the_classes(running):
    running.subscribe('label_info')
    (message,) = running.until(lambda: running.messages['label_info'])
    values = json.loads(message.data)
    labels = LABELS.as_drawn().to_dicts()
    assert values == {'labels': labels, 'score_threshold': 0.5}


def test_headers_are_kept_in_order(running):
    send(running, paint_scene(48, 96), 'instances')
    sent = []
    for _ in range(8):
        message = image_message(paint_scene(48, 96), next(NUMBERS))
        sent.append(message.header)
        running.image.publish(message)
        running.spin(0.05)
    running.until(lambda: running.messages['instances'][-1].header == sent[-1])
    got = [m.header for m in running.messages['instances']]
    assert got[0].frame_id not in {h.frame_id for h in sent}
    kept = iter(sent)
    assert all(any(header == other for other in kept) for header in got[1:])


def test_a_thing_keeps_its_track_and_a_reset_ends_it(running):
    scene = paint_scene(240, 480)
    before = [read_instances(send(running, scene, 'instances')['instances']) for _ in range(4)]
    tracks = [dict(zip(rows['class_id'], rows['track_id'], strict=True)) for rows in before]
    assert tracks[0] == tracks[-1]
    assert before[-1]['state'][before[-1]['is_thing'] == 1].tolist() == [2, 2]  # confirmed
    response = running.trigger('reset_tracks')
    assert response.success, response.message
    after = read_instances(send(running, scene, 'instances')['instances'])
    assert min(after['track_id'][after['is_thing'] == 1]) > max(before[-1]['track_id'])


@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8'])
def test_sizes_and_encodings_may_change_between_images(running, encoding):
    for height, width in ((240, 480), (31, 77), (480, 300)):
        scene = paint_scene(height, width)
        data = scene if encoding == 'rgb8' else scene[..., ::-1]
        found = send(running, np.ascontiguousarray(data), 'semantic', encoding=encoding)
        semantic = pixels(found['semantic'])
        assert semantic.shape == (height, width)
        assert semantic[height // 2 - 2, width // 4] == 2, 'the ball is red'


BAD = [  # changes to a good image, part of the line that says so
    ({'encoding': 'strange'}, "encoding 'strange' cannot be read"),
    ({'encoding': 'hostile\n' * 50_000}, "encoding 'hostile"),
    ({'step': 10}, 'step must be at least'),
    ({'height': 0}, 'at least 1 x 1 pixels, got 96 x 0'),
    ({'height': 47}, 'data must hold 47 rows'),
    ({'width': 0, 'height': 0, 'step': 0, 'data': b''}, 'at least 1 x 1 pixels, got 0 x 0'),
]


def test_bad_images_are_counted_and_reported_once(running, node):
    start = running.counts()
    for changes, _ in BAD * 2:
        running.image.publish(image_message(paint_scene(48, 96), next(NUMBERS), **changes))
        running.spin(0.1)
    running.until(
        lambda: running.counts()['dropped bad image'] == start['dropped bad image'] + 2 * len(BAD)
    )
    level, message, _ = running.status('input/camera')
    assert level >= 1
    assert 'bad image: an image needs at least 1 x 1 pixels, got 0 x 0' in message or level == 2
    for _, text in BAD:
        assert node.log.count(text) <= 1, node.log
    assert node.log.count('bad image:') == 5  # both zero sizes are one reason
    assert max(len(line) for line in node.log.splitlines()) < 1000
    send(running, paint_scene(48, 96), 'instances')  # images are still processed
    assert 'bad image' not in running.status('input/camera')[1]


REFUSED = [  # name, value, part of the reason
    ('max_rate_hz', -1.0, 'out of range'),
    ('max_rate_hz', 'fast', 'max_rate_hz must be a number from 0 to 1000'),
    ('max_age_ms', float('nan'), 'out of range'),
    ('output_scale', 'banana', 'output_scale must be one of camera, network'),
    ('score_threshold', 1.5, 'out of range'),
    ('score_threshold', -0.5, 'score_threshold must be -1'),
    ('min_area', 2e6, 'min_area must be 0 to 1e+06 for this model'),
    ('classes.include', ['ball', 'unicorn'], "unknown class 'unicorn'; the classes are: floor"),
    ('classes.exclude', [1, 2], 'classes.exclude must be a list of strings'),
    ('classes.exclude', ['floor', 'wall', 'ball', 'box'], 'leave no class; the model has floor, '),
    ('classes.exclude', 'ball', "got 'ball'; as a list it is [ball]"),
    ('classes.exclude', True, 'classes.exclude must be a list of strings, got True'),
    ('tracker.min_hits', 0, 'out of range'),
    ('tracker.min_hits', 1.5, "expected 'Type.INTEGER'"),
    ('tracker.max_age', 0.0, 'tracker.max_age must be a number over 0'),
    ('tracker.match_threshold', 2.0, 'out of range'),
    ('backend', 'onnx', 'backend must be one of auto, tensorrt'),
    ('input_transport', 'auto', 'read-only while the node is configured'),
]


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('tracker.max_agee', 'tracker.max_agee (did you mean tracker.max_age?)'),
        ('tracker.gate', 'tracker.gate (now called tracker.match_threshold)'),
        ('', 'the node does not have these parameters: '),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(running, name, reason):
    assert reason in running.set_parameter(name, 1.0)
    message = Parameter(name=name, value=ParameterValue(type=3, double_value=1.0))
    response = running.call(
        'set_parameters_atomically', SetParametersAtomically.Request(parameters=[message])
    )
    assert not response.result.successful
    assert reason in response.result.reason


@pytest.mark.parametrize(('name', 'value', 'reason'), REFUSED)
def test_a_bad_value_is_refused_with_a_reason_and_the_old_one_is_kept(
    running, name, value, reason
):
    before = running.get_parameter(name)
    assert reason in running.set_parameter(name, value)
    assert running.get_parameter(name) == before


def test_larger_images_than_the_parameter_allows_are_bad(running):
    before = running.counts()['dropped bad image']
    assert running.set_parameter('max_image_pixels', 99) == ''
    running.image.publish(image_message(paint_scene(240, 480), next(NUMBERS)))
    running.until(lambda: running.counts()['dropped bad image'] == before + 1)
    assert running.set_parameter('max_image_pixels', 100_000_000) == ''
    assert send(running, paint_scene(240, 480), 'semantic')


def test_an_integer_is_a_number(running):
    assert running.set_parameter('max_rate_hz', 50) == ''
    assert running.set_parameter('max_rate_hz', 0) == ''


def test_classes_and_thresholds_change_while_it_runs(running):
    scene = paint_scene(240, 480)

    def classes() -> list[int]:
        found = send(running, scene, 'semantic', 'instances')
        rows = read_instances(found['instances'])
        assert set(np.unique(pixels(found['semantic']))) - {VOID_ID} == set(rows['class_id'])
        return sorted(rows['class_id'])

    steps = [
        ('classes.include', ['ball', 'floor'], [0, 2]),
        ('classes.exclude', ['floor'], [2]),
        ('classes.include', [''], [1, 2, 3]),
        ('classes.exclude', [''], [0, 1, 2, 3]),
        ('score_threshold', 0.88, [0, 2]),  # floor has 0.9, the left ball 0.95
        ('score_threshold', -1.0, [0, 1, 2, 3]),
        ('min_area', 20000.0, [0, 1]),  # ball and box have 14400 px
        ('min_area', -1.0, [0, 1, 2, 3]),
    ]
    for name, value, expected in steps:
        assert running.set_parameter(name, value) == ''
        assert classes() == expected, (name, value)


def test_maps_have_the_decoded_resolution_on_request(running):
    assert running.set_parameter('output_scale', 'network') == ''
    found = send(running, paint_scene(480, 960), 'segments', 'semantic', 'confidence', 'overlay')
    assert running.set_parameter('output_scale', 'camera') == ''
    assert pixels(found['segments']).shape == pixels(found['semantic']).shape == (16, 32)
    assert pixels(found['confidence']).shape == (16, 32)
    assert pixels(found['overlay']).shape == (480, 960, 3)


def test_old_images_are_dropped(running):
    """The stamps of these tests are decades in the past."""
    assert running.set_parameter('max_age_ms', 1000) == ''
    start = running.counts()
    running.image.publish(image_message(paint_scene(48, 96), next(NUMBERS)))
    running.until(lambda: running.counts()['dropped too old'] == start['dropped too old'] + 1)
    fresh = image_message(paint_scene(48, 96), 0)
    fresh.header.stamp = running.node.get_clock().now().to_msg()
    running.image.publish(fresh)
    running.until(lambda: running.counts()['published'] == start['published'] + 1)
    assert running.set_parameter('max_age_ms', 0) == ''


def test_stamps_that_go_back_start_new_tracks(running):
    rows = read_instances(send(running, paint_scene(240, 480), 'instances')['instances'])
    back = image_message(paint_scene(240, 480), -500)
    running.image.publish(back)
    message = running.until(
        lambda: next((m for m in running.messages['instances'] if m.header == back.header), None)
    )
    again = read_instances(message)
    assert min(again['track_id'][again['is_thing'] == 1]) > max(rows['track_id'])


def test_enable_stops_and_starts_the_input(running):
    assert running.enable(False).success
    running.wait_for_input(count=0)
    assert running.status('input/camera')[:2] == (0, 'disabled')
    assert running.state == 'active'
    assert running.enable(True).success
    running.wait_for_input()
    send(running, paint_scene(48, 96), 'instances')


def test_reload_takes_the_new_file_or_keeps_the_old_model(running, node, tiny_model):
    good = tiny_model.read_bytes()
    before = running.status('model')[2]
    try:
        tiny_model.write_bytes(good[:100])
        response = running.trigger('reload_model')
        assert not response.success
        assert 'the old model stays' in response.message
        assert str(tiny_model) in response.message
        level, message, values = running.status('model')
        assert (level, message) == (1, response.message)
        assert values == before
        send(running, paint_scene(48, 96), 'instances')

        make_tiny_model(tiny_model, input_size=(32, 64), stride=2)
        response = running.trigger('reload_model')
        assert response.success, response.message
        assert running.status('model')[2]['hash'] != before['hash']
        assert running.status('model')[0] == 0
        send(running, paint_scene(48, 96), 'instances')
    finally:
        tiny_model.write_bytes(good)
    assert running.trigger('reload_model').success
    assert running.status('model')[2] == before


def test_diagnostics_report_model_and_speed(running):
    for _ in range(3):
        send(running, paint_scene(48, 96), 'instances')
    level, message, values = running.status('model')
    assert (level, message) == (0, 'ok')
    assert values['state'] == 'active'
    assert (values['name'], values['family'], values['device']) == ('tiny', 'tiny', 'cpu')
    assert values['backend'] == 'onnxruntime/cpu'
    timing = running.status('timing')[2]
    for stage in ('pre-process', 'infer', 'post-process', 'track', 'publish'):
        assert 0 <= float(timing[f'{stage} p50 ms']) <= float(timing[f'{stage} max ms'])
    assert float(timing['end to end p95 ms']) >= float(timing['infer p50 ms'])
    memory = running.status('memory')[2]
    assert 20 < float(memory['host rss MB']) < 4000
    assert (memory['device used MB'], memory['out of memory']) == ('n/a', '0')
    tracking = running.status('tracking')[2]
    assert int(tracking['confirmed']) + int(tracking['tentative']) == 2
    assert running.counts()['in flight'] == 0
    running.spin(1.5)
    level, message, _ = running.status('input/camera')
    assert level >= 1
    assert message.startswith('no image for')


def test_compressed_input_and_auto_use_the_topic_that_delivers(running, node):
    """Twice through the whole lifecycle, from active to unconfigured and back."""
    for transport, topics in (
        ('compressed', ['image/compressed']),
        ('auto', ['image', 'image/compressed']),
    ):
        assert running.change_state('deactivate')
        assert running.state == 'inactive'
        running.wait_for_input(count=0)
        assert running.change_state('cleanup')
        assert running.state == 'unconfigured'
        running.until(lambda: running.node.count_publishers('panoptic/instances') == 0)
        assert running.set_parameter('input_transport', transport) == ''
        assert running.change_state('configure')
        assert running.change_state('activate')
        for topic in topics:
            running.wait_for_input(topic)
        if transport == 'compressed':
            assert running.node.count_subscribers('image') == 0
        check_compressed(running, node)
    running.wait_for_input('image', 0)  # the other transport was chosen
    assert running.change_state('deactivate')
    assert running.change_state('cleanup')
    assert running.set_parameter('input_transport', 'raw') == ''
    assert running.change_state('configure')
    assert running.change_state('activate')
    running.wait_for_input()


def check_compressed(graph: Graph, node: NodeProcess) -> None:
    """A complete JPEG is read; a truncated one is counted and reported."""
    scene = np.ascontiguousarray(paint_scene(240, 480)[..., ::-1])
    data = cv2.imencode('.jpg', scene)[1].tobytes()
    graph.subscribe('semantic')
    number, message = next(NUMBERS), None
    while message is None:
        graph.compressed.publish(CompressedImage(header=header(number), format='jpeg', data=data))
        graph.spin(0.2)
        message = next((m for m in graph.messages['semantic'] if m.header == header(number)), None)
    assert pixels(message)[118, 120] == 2
    start = graph.counts()
    graph.compressed.publish(
        CompressedImage(header=header(next(NUMBERS)), format='jpeg', data=data[: len(data) // 2])
    )
    graph.until(lambda: graph.counts()['dropped bad image'] == start['dropped bad image'] + 1)
    assert 'the jpeg image is cut short' in node.log
