# SPDX-License-Identifier: Apache-2.0
"""Nodes that are started with errors, are too slow, or are ended."""

import json
import signal
from itertools import count

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from node_process import image_message
from rosgraph_msgs.msg import Clock
from tiny_model import make_tiny_model, paint_scene

from panoptic_ros.core.frame import read_instances
from panoptic_ros.core.resources import resource_file

pytestmark = pytest.mark.ros


def test_a_failed_start_is_explained_and_can_be_corrected(graph, start, tiny_model, tmp_path):
    damaged = tmp_path / 'damaged.onnx'
    damaged.write_bytes(tiny_model.read_bytes()[:-500])
    node = start(
        {
            'model': tmp_path / 'missing.onnx',
            'max_rate_hz': 'fast',
            'output_scale': 'banana',
            'tracker.min_hits': 0,
            'max_age_ms': 7,
            'classes.include': '[]',
            'cameras': 'front',
            'classes.exclude': 'true',
            'modl': 'x',
            'tracker.max_ag': 2.0,
            'tracker.near_growth': 2.0,
        }
    )
    node.wait_for_log('cannot configure: no model file at')
    for text in (
        "max_rate_hz must be a number from 0 to 1000, got 'fast'; the default 0.0 is used",
        "output_scale must be one of camera, network, got 'banana'",
        'tracker.min_hits must be an integer from 1 to 1000, got 0; the default 3 is ',
        "cameras must be a list of strings, got 'front'; as a list it is [front]",
        'classes.exclude must be a list of strings, got True',
        'parameters are unknown, they are ignored: modl (did you mean model?), '
        'tracker.max_ag (did you mean tracker.max_age?)',
        'tracker.near_growth is now called tracker.box_expansion_rate; its value is ignored, ',
    ):
        assert node.log.count(text) == 1, node.log
    assert graph.state == 'unconfigured'
    assert graph.get_parameter('max_rate_hz') == 0.0
    assert graph.get_parameter('max_age_ms') == 7  # an integer is a number
    level, message, values = graph.status('model')
    assert (level, values['state'], values['name']) == (2, 'unconfigured', 'n/a')
    assert message.startswith('cannot configure: no model file at')
    assert not graph.trigger('reset_tracks').success
    assert 'the node is unconfigured' in graph.trigger('reload_model').message

    for model, settings, reason in (
        (damaged, {}, f'cannot configure: {damaged}'),
        (tiny_model, {'classes.include': ['unicorn']}, "unknown class 'unicorn'"),
        (
            tiny_model,
            {'classes.include': [''], 'cameras': ['front'], 'min_area': 1e9},
            'min_area must be 0 to 1e+06',
        ),
        (tiny_model, {'min_area': -1, 'device': 'cuda:99'}, "device 'cuda:99' is not available"),
    ):
        for name, value in ({'model': str(model)} | settings).items():
            assert graph.set_parameter(name, value) == ''
        assert not graph.change_state('configure')
        assert reason in node.log, node.log
        assert graph.state == 'unconfigured'

    # The same with `allow_cpu`.
    assert graph.set_parameter('allow_cpu', True) == ''
    assert graph.change_state('configure')
    level, message, values = graph.status('model')
    assert (level, values['state'], values['device']) == (1, 'inactive', 'cpu')
    assert "device 'cuda:99' is not available" in message
    assert graph.change_state('activate')
    graph.wait_for_input()
    assert graph.status('input/front')[2]['age s'] == 'n/a'
    assert graph.change_state('active_shutdown')
    assert graph.state == 'finalized'
    graph.wait_for_input(count=0)
    assert node.end(signal.SIGTERM) == 0, node.log
    assert 'Traceback' not in node.log


@pytest.mark.parametrize(
    ('text', 'more', 'reason'),
    [
        (None, (), 'Error opening YAML file'),
        ('/**: {max_rate_hz: 4.0}', (), 'Cannot have a value before ros__parameters'),
        ('/**: {ros__parameters: {use_sim_time: maybe}}', (), "'use_sim_time' to 'maybe'"),
        ('/**: {ros__parameters: {max_rate_hz: 4.0}}', ('-r', '__ns:=a-b'), 'remap rule'),
    ],
)
def test_what_ros_cannot_read_is_one_line(start, tmp_path, text, more, reason):
    file = tmp_path / 'node.yaml'
    if text is not None:
        file.write_text(text)
    node = start({}, *more, before=('--params-file', str(file)))
    assert node.process.wait(60) == 2
    (line,) = (line for line in node.log.splitlines() if 'panoptic_node: error: ' in line)
    assert reason in line
    assert 'Traceback' not in node.log
    assert '.c:' not in line


def test_a_file_for_another_node_is_reported(start, tmp_path):
    file = tmp_path / 'node.yaml'
    file.write_text('/right/panoptic_node: {ros__parameters: {max_rate_hz: 4.0}}')
    node = start(
        {'model': tmp_path / 'missing.onnx'},
        '-r',
        '__ns:=/left',
        before=('--params-file', str(file)),
    )
    node.wait_for_log(
        f'{file} has no parameters for /left/panoptic_node, only for /right/panoptic_node'
    )
    assert node.end() == 0, node.log


def test_a_file_that_only_ros_can_read_is_reported(start, tmp_path):
    file = tmp_path / 'node.yaml'
    file.write_bytes('/**: {}'.encode('utf-16'))
    node = start({'model': tmp_path / 'missing.onnx'}, before=('--params-file', str(file)))
    node.wait_for_log(f'parameters may be missing: {file} is not text in UTF-8')
    assert node.end() == 0, node.log


def test_a_slow_node_takes_the_newest_image_and_ends_while_it_is_processed(
    graph, start, slow_model
):
    """As started by the launch file, with the shipped parameters and a remapped topic."""
    node = start(
        {'model': slow_model, 'autostart': 'false'},
        '-r',
        'image:=camera/image_raw',
        before=('--params-file', str(resource_file('config/panoptic.yaml'))),
    )
    graph.until(lambda: graph.state == 'unconfigured')
    assert graph.change_state('configure')
    assert graph.change_state('activate')
    graph.wait_for_input('camera/image_raw')
    graph.wait_for_input('camera/image_raw/compressed')  # follows the remapped topic
    publisher = graph.node.create_publisher(
        type(image_message(paint_scene(8, 8), 0)), 'camera/image_raw', 10
    )
    graph.subscribe('instances')
    graph.messages['instances'].clear()
    numbers = count(1)
    while len(graph.messages['instances']) < 5:
        publisher.publish(image_message(paint_scene(48, 96), next(numbers)))
        graph.spin(0.02)
    # Diagnostics come once a second.
    graph.until(lambda: graph.counts()['published'] >= 5)
    assert graph.counts()['dropped superseded'] > 0
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in graph.messages['instances']]
    assert stamps == sorted(stamps)
    last = image_message(paint_scene(48, 96), next(numbers))
    publisher.publish(last)
    graph.until(lambda: graph.messages['instances'][-1].header == last.header)
    publisher.publish(image_message(paint_scene(48, 96), next(numbers)))
    graph.spin(0.05)
    assert node.end(signal.SIGINT) == 0, node.log
    assert 'Traceback' not in node.log


def test_ages_and_diagnostics_use_the_clock_of_a_bag(graph, start, tiny_model):
    """With use_sim_time, images have a small age if /clock is near their stamps of 1970."""
    node = start({'model': tiny_model, 'use_sim_time': True, 'max_age_ms': 1000})
    clock = graph.node.create_publisher(Clock, '/clock', 10)
    graph.wait_for_input()
    graph.subscribe('instances')
    for messages in (graph.messages['instances'], graph.diagnostics):
        messages.clear()

    def input_values() -> dict[str, str] | None:
        if not graph.diagnostics or graph.diagnostics[-1].header.stamp.sec not in range(900, 1100):
            return None
        (status,) = (s for s in graph.diagnostics[-1].status if s.name.endswith('input/camera'))
        values = {value.key: value.value for value in status.values}
        return values if int(values['dropped too old']) else None

    for number in count(1):
        old = number > 20  # these are stamped two seconds before the clock
        image = image_message(paint_scene(48, 96), number - 20 * old)
        clock.publish(Clock(clock=image_message(paint_scene(8, 8), number).header.stamp))
        graph.image.publish(image)
        graph.spin(0.05)
        if values := input_values():
            break
        assert number < 1000, node.log
    assert graph.messages['instances'], 'young images are published'
    assert 1 < float(values['age s']) < 4
    assert node.end(signal.SIGTERM) == 0, node.log


def test_a_model_without_confidence_is_reported_once(graph, start, tmp_path):
    """One of version 0.1.0; everything else is published."""
    old = make_tiny_model(tmp_path / 'old.onnx', confidence=False)
    node = start({'model': old, 'input_reliability': 'reliable'})
    graph.wait_for_input()
    graph.subscribe('confidence', 'instances')
    graph.forget_messages()
    for number in count(1):
        graph.image.publish(image_message(paint_scene(48, 96), number))
        graph.spin(0.1)
        if len(graph.messages['instances']) > 2:
            break
    assert not graph.messages['confidence']
    assert node.log.count('nothing is published on panoptic/confidence: the model file') == 1
    assert graph.counts()['dropped inference failed'] == 0


def test_classes_are_published_with_the_ids_of_a_consumer(graph, start, tiny_model, tmp_path):
    remap = tmp_path / 'remap.yaml'
    remap.write_text('classes: [{id: 40, name: tree, kind: stuff}]')
    node = start(
        {'model': tiny_model, 'input_reliability': 'reliable', 'labels.remap': f'"{remap}"'}
    )
    node.wait_for_log(f"cannot configure: {remap}: unknown class 'tree'")
    remap.write_text('{classes: [{id: 40, name: ball, kind: thing}], ignore: [0]}')
    assert graph.change_state('configure') and graph.change_state('activate')
    assert node.log.count('labels.remap: not published are floor, wall, box') == 1
    graph.wait_for_input()
    graph.subscribe('semantic', 'instances', 'label_info')
    labels = graph.until(lambda: graph.messages['label_info'])[-1]
    graph.forget_messages()
    for number in count(1):
        graph.image.publish(image_message(paint_scene(48, 96), number))
        graph.spin(0.1)
        if graph.messages['semantic'] and graph.messages['instances']:
            break
    assert set(graph.messages['semantic'][0].data) == {0, 40}
    assert read_instances(graph.messages['instances'][0])['class_id'].tolist() == [40]
    (entry,) = json.loads(labels.data)['labels']
    assert (entry['class_id'], entry['name']) == (40, 'ball')


def test_a_camera_that_cannot_subscribe_leaves_none_subscribed(graph, start, tiny_model):
    node = start(
        {
            'model': tiny_model,
            'cameras': '[east, west]',
            'autostart': False,
            'qos_overrides./west/cloud.subscription.durability': 'nonsense',
        }
    )
    assert graph.change_state('configure')
    assert graph.enable(False).success
    assert graph.change_state('activate')
    for _ in range(2):
        answer = graph.enable(True)
        assert not answer.success and answer.message.startswith('cannot enable the input: ')
        for camera in ('east', 'west'):
            graph.until(lambda name=camera: not graph.node.count_subscribers(f'{name}/image'))
    assert node.end() == 0
    assert 'Traceback' not in node.log
