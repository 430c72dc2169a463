# SPDX-License-Identifier: Apache-2.0
"""Requests for transitions to a live node, also those that its state does not allow."""

import signal

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from lifecycle_msgs.msg import Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from node_process import Graph
from tiny_model import make_tiny_model

pytestmark = pytest.mark.ros

IDS = {'configure': 1, 'cleanup': 2, 'activate': 3, 'deactivate': 4}
SHUTDOWN = {'unconfigured': 5, 'inactive': 6, 'active': 7}

PATH = [  # (what leads to the state, the state, what it allows)
    ('', 'unconfigured', {'configure'}),
    ('configure', 'inactive', {'activate', 'cleanup'}),
    ('activate', 'active', {'deactivate'}),
    ('deactivate', 'inactive', {'activate', 'cleanup'}),
    ('cleanup', 'unconfigured', {'configure'}),
    ('shutdown', 'finalized', set()),
]


def request(graph: Graph, number: int = 0, label: str = '') -> bool:
    asked = ChangeState.Request(transition=Transition(id=number, label=label))
    return graph.call('change_state', asked).success


def test_a_transition_that_the_state_does_not_allow_is_refused(graph, start, tiny_model):
    node = start({'model': tiny_model, 'autostart': False})
    refused = 0
    for step, state, allowed in PATH:
        if step:
            assert request(graph, label=step), step
        assert graph.state == state
        numbers = {number for name, number in IDS.items() if name not in allowed}
        numbers |= {number for name, number in SHUTDOWN.items() if name != state}
        # create, destroy, those that end a transition, unknown ones
        numbers |= {0, 8, 10, 11, 12, 30, 60, 97, 99, 255}
        labels = (set(IDS) - allowed) | {
            'transition_success',
            'transition_error',
            'unicorn',
            'Configure',
            'create',
            'configure ',
        }
        for number in sorted(numbers):
            assert not request(graph, number), (state, number)
        for label in sorted(labels):
            assert not request(graph, 1, label), (state, label)
        refused += len(numbers) + len(labels)
        assert graph.state == state
        assert node.log.count('is refused') == refused
    assert (
        "transition 'configure' is refused: the node is active, which allows deactivate, shutdown"
    ) in node.log
    assert "'unicorn' is refused" in node.log
    assert 'which allows none' in node.log
    assert node.end(signal.SIGINT) == 0
    assert 'Traceback' not in node.log


def test_services_answer_while_a_model_loads_until_the_time_limit(
    graph, start, tiny_model, tmp_path
):
    """The model's graph never ends; the node activates itself."""
    endless = make_tiny_model(tmp_path / 'endless.onnx', endless=0)
    node = start({'model': endless, 'load_timeout_s': 6.0})
    graph.until(lambda: graph.state == 'configuring')
    level, message, values = graph.status('model')
    assert (level, values['state'], values['name']) == (1, 'configuring', 'n/a')
    assert message.startswith('a model has been loading for ')
    for number in (1, 2, 3, 4, 5, 10, 11, 99):
        assert not request(graph, number)
    assert not request(graph, label='transition_success')
    assert 'configure is in progress' in node.log
    assert not graph.trigger('reload_model').success
    assert 'read-only while the node is configured' in graph.set_parameter('cameras', ['front'])
    assert graph.set_parameter('max_age_ms', 7.0) == ''
    assert graph.state == 'configuring'

    node.wait_for_log('cannot configure: the model is not loaded after 6 s')
    assert graph.state == 'unconfigured'
    assert graph.status('model')[0] == 2
    assert graph.set_parameter('model', str(tiny_model)) == ''
    assert request(graph, 1)
    assert graph.get_parameter('max_age_ms') == 7
    assert node.end() == 0  # the blocked thread does not prevent the end
    assert 'Traceback' not in node.log


def test_services_answer_while_a_model_is_reloaded(graph, start, tiny_model, tmp_path):
    path = tmp_path / 'model.onnx'
    path.write_bytes(tiny_model.read_bytes())
    node = start({'model': path})
    graph.until(lambda: graph.state == 'active')
    make_tiny_model(path, endless=0)
    graph.begin_reload()
    assert graph.status('model')[0] == 0  # the old one is used
    assert not request(graph, 1)
    assert not request(graph, 3)
    assert request(graph, 4)
    assert request(graph, 2)
    assert graph.state == 'unconfigured'
    assert node.end(signal.SIGINT) == 0
    assert 'Traceback' not in node.log


def test_the_other_lifecycle_services_and_events(graph, start, tiny_model):
    node = start({'model': tiny_model, 'autostart': False})
    events = []
    graph.node.create_subscription(
        TransitionEvent, '/panoptic_node/transition_event', events.append, 10
    )
    graph.until(lambda: graph.node.count_publishers('/panoptic_node/transition_event'))
    assert graph.call('get_state', GetState.Request()).current_state.id == 1
    states = graph.call('get_available_states', GetAvailableStates.Request()).available_states
    assert {'unconfigured', 'inactive', 'active', 'finalized'} <= {s.label for s in states}
    for service in ('get_available_transitions', 'get_transition_graph'):
        got = graph.call(service, GetAvailableTransitions.Request())
        assert 'configure' in {t.transition.label for t in got.available_transitions}
    assert request(graph, 1)
    graph.until(lambda: [e.goal_state.label for e in events] == ['configuring', 'inactive'])
    assert node.end() == 0
