# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.typesys import Stores, get_typestore

from panoptic_ros.demo import RERUN_FILE, RESULTS
from panoptic_ros.demo.recorder import Recorder
from panoptic_ros.node.topics import RECORDED_INPUT

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = {
    'panoptic/segments': 'sensor_msgs/msg/Image',
    'panoptic/overlay': 'sensor_msgs/msg/Image',
    'panoptic/label_info': 'std_msgs/msg/String',
    'diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
    RECORDED_INPUT: 'sensor_msgs/msg/CompressedImage',
}
START_NS = 1_700_000_000 * 10**9


def make(kind: str, *fields):
    package, name = kind.split('/')
    return STORE.types[f'{package}/msg/{name}'](*fields)


def header(time_ns: int):
    return make(
        'std_msgs/Header',
        make('builtin_interfaces/Time', time_ns // 10**9, time_ns % 10**9),
        'camera',
    )


def image(time_ns: int, grey: int, encoding: str, channels: int):
    data = np.full(36 * 64 * channels, grey, np.uint8)
    return make('sensor_msgs/Image', header(time_ns), 36, 64, encoding, 0, 64 * channels, data)


def diagnostics(time_ns: int, published: int, rate: str):
    def status(name, values):
        return make(
            'diagnostic_msgs/DiagnosticStatus',
            0,
            f'panoptic_node: {name}',
            'ok',
            '',
            [make('diagnostic_msgs/KeyValue', *pair) for pair in values.items()],
        )

    return make(
        'diagnostic_msgs/DiagnosticArray',
        header(time_ns),
        [
            status('model', {'state': 'active', 'backend': 'onnxruntime/cpu', 'device': 'cpu'}),
            status(
                'input/camera',
                {
                    'received': str(published + 1),
                    'published': str(published),
                    'dropped superseded': '1',
                    'in flight': '0',
                },
            ),
            status(
                'timing', {'rate hz': rate, 'end to end p50 ms': '5.0', 'end to end p95 ms': '9.0'}
            ),
        ],
    )


@pytest.fixture
def recorder(tmp_path):
    with Recorder(tmp_path, TYPES, frozenset({'panoptic/label_info'}), 10) as value:
        yield value


def take(recorder: Recorder, topic: str, time_ns: int, message) -> None:
    recorder.take(topic, bytes(STORE.serialize_cdr(message, TYPES[topic])), time_ns)


def record(recorder: Recorder, images: int) -> None:
    take(recorder, 'panoptic/label_info', START_NS, make('std_msgs/String', '{}'))
    for number in range(images):
        time_ns = START_NS + number * 10**8
        take(recorder, 'panoptic/segments', time_ns, image(time_ns, number, 'mono16', 2))
        take(recorder, 'panoptic/overlay', time_ns, image(time_ns, 20 * number, 'rgb8', 3))
        take(recorder, 'diagnostics', time_ns, diagnostics(time_ns, number + 1, f'{10 + number}'))


def test_all_results_are_written_and_can_be_read(recorder, tmp_path):
    record(recorder, 5)
    # The camera has stopped: the count stands still and the rate falls.
    take(recorder, 'diagnostics', START_NS + 10**9, diagnostics(START_NS + 10**9, 5, '0.0'))
    summary = recorder.finish()
    assert summary == json.loads((tmp_path / 'summary.json').read_text())
    assert (summary['received'], summary['published'], summary['dropped']) == (
        6,
        5,
        {'superseded': 1},
    )
    assert summary['rate_hz'] == 14.0  # of the last that had new images
    assert cv2.imread(str(tmp_path / 'contact_sheet.png')).shape == (720, 1920, 3)
    capture = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    with AnyReader([tmp_path / 'bag']) as bag:
        assert {topic: info.msgcount for topic, info in bag.topics.items()} == {
            '/panoptic/segments': 5,
            '/panoptic/label_info': 1,
            '/diagnostics': 6,
            '/image/compressed': 0,
        }
        latched = {
            connection.topic: connection.ext.offered_qos_profiles[0].durability
            for connection in bag.connections
        }
        assert latched == {
            '/panoptic/segments': QosDurability.VOLATILE,
            '/panoptic/label_info': QosDurability.TRANSIENT_LOCAL,
            '/diagnostics': QosDurability.VOLATILE,
            '/image/compressed': QosDurability.VOLATILE,
        }
        first = next(m for m in bag.messages() if m[0].topic == '/panoptic/segments')
        assert first[1] == START_NS
        assert bag.deserialize(first[2], first[0].msgtype).data.nbytes == 36 * 64 * 2
    assert {path.name for path in tmp_path.iterdir()} == set(RESULTS.names) - {RERUN_FILE}


SECOND = 10**9


def test_the_images_of_the_camera_are_in_the_bag_up_to_a_limit(recorder, tmp_path, monkeypatch):
    monkeypatch.setattr('panoptic_ros.demo.recorder.MAX_IMAGE_BYTES', 1500)
    data = np.zeros(1000, np.uint8)
    for second in range(4):
        stamp_ns = START_NS + second * SECOND
        message = make('sensor_msgs/CompressedImage', header(stamp_ns), 'jpeg', data + second)
        take(recorder, RECORDED_INPUT, stamp_ns + 5, message)
    recorder.close()
    assert recorder.left_out == 2
    with AnyReader([tmp_path / 'bag']) as bag:
        found = [
            (connection.topic, time_ns, bag.deserialize(message, connection.msgtype))
            for connection, time_ns, message in bag.messages()
        ]
    # Under the topic that replays and nodes take images from.
    assert [(topic, time_ns) for topic, time_ns, _ in found] == [
        ('/image/compressed', START_NS + 5),
        ('/image/compressed', START_NS + SECOND + 5),
    ]
    assert [message.data.mean() for *_, message in found] == [0, 1]


def test_the_rate_is_that_of_the_last_seconds_with_images(recorder):
    """The node may publish the last result a while after the camera has stopped."""
    record(recorder, 3)
    late = diagnostics(START_NS + 10 * SECOND, 4, '0.3')
    late.status[1].values[0].value = '4'  # images received, as before
    take(recorder, 'panoptic/overlay', START_NS, image(START_NS, 0, 'rgb8', 3))
    take(recorder, 'diagnostics', START_NS + 10 * SECOND, late)
    assert recorder.at_work.rate_hz == 12.0


@pytest.mark.parametrize(
    ('with_diagnostics', 'words'),
    [
        (False, 'sent nothing on /diagnostics'),
        (True, 'at least one picture'),  # it published, but no overlay came
    ],
)
def test_missing_results_are_an_error(recorder, with_diagnostics, words):
    if with_diagnostics:
        take(recorder, 'diagnostics', START_NS, diagnostics(START_NS, 3, '10.0'))
    with pytest.raises(ValueError, match=words):
        recorder.finish()


def test_message_types_of_other_packages_are_found(tmp_path, monkeypatch):
    share = tmp_path / 'ros' / 'share' / 'some_msgs' / 'msg'
    share.mkdir(parents=True)
    (share / 'Row.msg').write_text('std_msgs/Header header\nCell[] cells\n')
    (share / 'Cell.msg').write_text('string name\n')
    topics = {'rows': 'some_msgs/msg/Row'}
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path / "ros"}')
    (tmp_path / 'out').mkdir()
    with Recorder(tmp_path / 'out', topics, frozenset(), 10) as recorder:
        # header: stamp 0.0, frame id ''; cells: none
        recorder.take('rows', b'\0\1\0\0' + bytes(8) + b'\1\0\0\0' + bytes(8), START_NS)
    with AnyReader([tmp_path / 'out' / 'bag']) as bag:
        connection, _, data = next(bag.messages())
        assert len(bag.deserialize(data, connection.msgtype).cells) == 0
    monkeypatch.delenv('AMENT_PREFIX_PATH')
    with pytest.raises(ValueError, match='some_msgs is installed, but'):
        Recorder(Path(tmp_path), topics, frozenset(), 10)
