# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest

from panoptic_ros.node.diagnostics import Status
from panoptic_ros.node.node_health import NodeHealth, read_health

INPUT = {
    'received': '10',
    'published': '6',
    'dropped superseded': '2',
    'dropped bad image': '1',
    'in flight': '1',
}
TIMING = {'rate hz': '24.9', 'end to end p50 ms': '11.50', 'end to end p95 ms': '20.25'}
MODEL = {'state': 'active', 'backend': 'onnxruntime/cpu', 'device': 'cpu'}


def message(model=MODEL, images=INPUT, timing=TIMING, level=0, text='ok', node='panoptic_node'):
    """Return a DiagnosticArray as read from a bag; in rclpy's `level` is bytes."""
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=12, nanosec=500_000_000)),
        status=[
            SimpleNamespace(
                name=f'{node}: {task}',
                level=level if task == 'model' else b'\0',
                message=text,
                hardware_id='',
                values=[SimpleNamespace(key=k, value=v) for k, v in values.items()],
            )
            for task, values in (('model', model), ('input/camera', images), ('timing', timing))
        ],
    )


def health(**changes) -> NodeHealth:
    value = read_health(message(**changes))
    assert value is not None
    return value


def test_summary_holds_the_nodes_numbers():
    assert health().summary() == {
        'received': 10,
        'published': 6,
        'dropped': {'superseded': 2, 'bad image': 1},
        'in_flight': 1,
        'rate_hz': 24.9,
        'latency_ms': {'p50': 11.5, 'p95': 20.25},
        'backend': 'onnxruntime/cpu',
        'device': 'cpu',
    }


def test_rate_and_latency_are_those_while_images_came():
    stopped = health(timing=dict.fromkeys(TIMING, 'n/a'))
    summary = stopped.summary(at_work=health())
    assert summary['rate_hz'] == 24.9
    assert summary['latency_ms'] == {'p50': 11.5, 'p95': 20.25}


def test_images_with_depth_are_counted_over_all_cameras():
    statuses = dict(health().statuses)
    for name, used in (('front', 3), ('rear', 2)):
        values = {'used': str(used), 'mismatch unreadable': '1', 'mismatch no camera_info': '0'}
        statuses[f'depth/{name}'] = Status(f'depth/{name}', values=values)
    summary = NodeHealth(12.5, statuses).summary()
    assert summary['depth'] == {'used': 5, 'mismatches': {'unreadable': 2}}


@pytest.mark.parametrize(
    ('images', 'words'),
    [
        (INPUT | {'received': '11'}, 'do not add up'),  # one got lost
        (INPUT | {'in flight': '0'}, 'do not add up'),
        (
            {'received': '2', 'published': '0', 'dropped bad image': '2', 'in flight': '0'},
            'published no image.*2 bad image',
        ),
        ({}, 'published no image: no image yet'),  # the node has no camera yet
    ],
)
def test_a_summary_with_inconsistent_counts_is_refused(images, words):
    with pytest.raises(ValueError, match=words):
        health(images=images).summary()


def test_an_image_without_a_rate_counts_as_rate_0():
    assert health(timing=TIMING | {'rate hz': 'n/a'}).rate_hz == 0


@pytest.mark.parametrize(
    ('model', 'level', 'active', 'problem'),
    [
        (MODEL, 0, True, ''),
        (MODEL, b'\1', True, ''),  # slower hardware: it works
        ({'state': 'inactive'}, 0, False, ''),
        ({'state': 'unconfigured'}, b'\1', False, ''),  # not loaded yet
        ({'state': 'unconfigured'}, b'\2', False, 'cannot configure: no file'),
    ],
)
def test_state_and_problem_of_the_model(model, level, active, problem):
    value = health(model=model, level=level, text='cannot configure: no file')
    assert (value.active, value.problem) == (active, problem)


def test_a_line_for_people():
    assert health().line() == (
        '24.9 images/s, latency 12 ms (p95 20), 6 of 10 published (2 superseded, 1 bad image)'
    )
    assert health(level=1, text='slow').line().endswith('; WARN model: slow')


def test_diagnostics_of_other_nodes_are_ignored():
    assert read_health(message(node='lidar')) is None
    assert read_health(message(node='/front/lidar')) is None
    assert health().stamp_s == 12.5


@pytest.mark.parametrize('node', ['panoptic_node', '/panoptic_node', '/robot/front/panoptic_node'])
def test_the_node_is_known_in_any_namespace(node):
    assert read_health(message(node=node)).counts['published'] == 6


def test_counts_and_rates_of_several_cameras_are_summed_and_the_slowest_is_named():
    statuses = {
        'model': MODEL,
        'input/front': INPUT,
        'timing/front': TIMING,
        'tracking/front': {},
        'input/rear': INPUT | {'received': '11', 'published': '7'},
        'timing/rear': TIMING | {'rate hz': '5.0', 'end to end p95 ms': '44.00'},
    }
    both = NodeHealth(
        12.5, {name: Status(name, values=dict(values)) for name, values in statuses.items()}
    )
    assert both.counts == {'received': 21, 'published': 13, 'in_flight': 2}
    assert both.dropped == {'superseded': 4, 'bad image': 2}
    assert both.rate_hz == pytest.approx(29.9)
    assert both.summary()['latency_ms'] == {'p50': 11.5, 'p95': 44.0}
