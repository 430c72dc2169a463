# SPDX-License-Identifier: Apache-2.0
"""Transitions of a live node while it loads another model."""

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from image_stream import ImageStream
from tiny_model import ANIMALS, make_tiny_model

pytestmark = pytest.mark.ros


@pytest.fixture(scope='module')
def slow_loading(tmp_path_factory) -> Path:
    """A model whose test images take seconds."""
    path = tmp_path_factory.mktemp('models') / 'slow_animals.onnx'
    return make_tiny_model(path, work=60, labels=ANIMALS, embedding_dim=7)


@pytest.fixture(scope='module')
def endless(tmp_path_factory) -> Path:
    """A model whose test images never end."""
    return make_tiny_model(tmp_path_factory.mktemp('models') / 'endless.onnx', endless=0)


@pytest.fixture
def node(graph, start, tiny_model):
    node = start({'model': tiny_model, 'input_reliability': 'reliable', 'input_transport': 'raw'})
    node.wait_for_log('subscribed to')
    graph.until(lambda: graph.state == 'active')
    yield node
    assert node.process.poll() == 0 or node.end(signal.SIGINT) == 0, node.log
    assert 'Traceback' not in node.log


def test_the_model_is_replaced_while_the_node_becomes_inactive(graph, node, slow_loading):
    stream = ImageStream(graph)
    before = stream.next_table()
    assert graph.set_parameter('model', str(slow_loading)) == ''
    reload = graph.begin_reload()
    assert graph.change_state('deactivate')
    assert not reload.done()
    graph.until(reload.done)
    assert reload.result().success
    assert graph.state == 'inactive'
    assert graph.change_state('activate')
    after = stream.next_table()
    stream.close()
    assert after['embedding'].shape[1] == 7
    assert min(after['track_id'][after['is_thing'] == 1]) > max(before['track_id'])


@pytest.mark.parametrize('transitions', [['deactivate', 'cleanup'], ['active_shutdown']])
def test_a_model_that_comes_too_late_is_not_used(graph, node, slow_loading, transitions):
    assert graph.set_parameter('model', str(slow_loading)) == ''
    reload = graph.begin_reload()
    for transition in transitions:
        assert graph.change_state(transition)
    assert not reload.done()
    graph.until(reload.done)
    assert not reload.result().success
    assert reload.result().message == 'the node was cleaned up meanwhile'
    _, message, values = graph.status('model')
    assert values['name'] == 'n/a'
    assert 'the old model stays' not in message


def test_a_reload_of_an_earlier_configuration_blocks_no_other(graph, node, tiny_model, endless):
    assert graph.set_parameter('load_timeout_s', 30.0) == ''
    assert graph.set_parameter('model', str(endless)) == ''
    late = graph.begin_reload()
    assert graph.change_state('deactivate')
    assert graph.change_state('cleanup')
    assert graph.set_parameter('model', str(tiny_model)) == ''
    assert graph.change_state('configure')
    assert graph.trigger('reload_model').success
    assert not late.done()


def test_the_process_ends_while_a_model_is_reloaded(graph, node, endless):
    assert graph.set_parameter('model', str(endless)) == ''
    graph.begin_reload()
    start_s = time.monotonic()
    assert node.end(signal.SIGTERM) == 0
    assert time.monotonic() - start_s < 5
