# SPDX-License-Identifier: Apache-2.0
"""Immediate release of models, without the garbage collector."""

import gc
import time
import weakref

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

import rclpy
from node_process import image_message
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tiny_model import paint_scene

pytestmark = pytest.mark.ros


class Setup:
    """Node in this process, with a client node."""

    def __init__(self, domain: int, model) -> None:
        from panoptic_ros.ros.node import PanopticNode

        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = PanopticNode(
            context=self.context,
            parameter_overrides=[
                Parameter('model', value=str(model)),
                Parameter('input_reliability', value='reliable'),
                Parameter('backend', value='onnxruntime'),
                Parameter('idle_after_s', value=0.0),
            ],
        )
        self.user = rclpy.create_node('user', context=self.context)
        self.images = self.user.create_publisher(Image, 'image', 10)
        for node in (self.node, self.user):
            self.executor.add_node(node)

    def close(self) -> None:
        assert self.node.close(20)
        self.executor.shutdown(0)
        self.node.destroy_node()
        self.user.destroy_node()
        del self.node, self.user, self.executor, self.images
        gc.collect()  # otherwise other tests find the node's services for a while
        rclpy.shutdown(context=self.context)

    def until(self, condition) -> None:
        end_s = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end_s, 'timed out'
            self.executor.spin_once(0.02)

    def change(self, *transitions: str) -> None:
        for transition in transitions:
            task = self.executor.create_task(self.node.change_state, transition)
            self.until(task.done)
            assert task.result(), transition

    def reload(self) -> Trigger.Response:
        task = self.executor.create_task(
            self.node._on_reload_model, Trigger.Request(), Trigger.Response()
        )
        self.until(task.done)
        return task.result()

    def send(self) -> None:
        """Send an image and wait until its result is published."""
        (camera,) = self.node._cameras
        before = camera.counts.published
        self.images.publish(image_message(paint_scene(48, 96), before + 1))
        self.until(lambda: camera.counts.published > before)

    def session(self) -> weakref.ref:
        return weakref.ref(self.node._loaded.predictor.backend._session)


@pytest.fixture
def setup(ros_domain, tiny_model):
    setup = Setup(ros_domain, tiny_model)
    gc.collect()
    gc.disable()
    yield setup
    gc.enable()
    setup.close()


def test_a_clean_up_frees_the_model_at_once(setup):
    setup.change('configure', 'activate')
    setup.until(lambda: setup.images.get_subscription_count())
    setup.send()
    session = setup.session()
    assert session() is not None
    setup.change('deactivate', 'cleanup')
    setup.until(lambda: session() is None)


def test_a_new_configuration_holds_one_model(setup):
    sessions = []
    for _ in range(3):  # without any image, so that nothing waits for one
        setup.change('configure', 'activate')
        sessions.append(setup.session())
        setup.change('deactivate', 'cleanup')
    setup.until(lambda: not any(session() for session in sessions))


def test_a_reload_frees_the_old_model(setup):
    setup.change('configure', 'activate')
    setup.until(lambda: setup.images.get_subscription_count())
    setup.send()
    first = setup.session()
    assert setup.reload().success
    setup.send()
    setup.until(lambda: first() is None)
    second = setup.session()
    setup.change('shutdown')
    setup.until(lambda: second() is None)


def test_a_model_that_comes_too_late_is_freed(setup):
    setup.change('configure', 'activate')
    loaded = []
    load = setup.node._load

    async def load_and_clean_up():
        model = await load()
        loaded.append(weakref.ref(model.predictor.backend._session))
        assert await setup.node.change_state('deactivate')
        assert await setup.node.change_state('cleanup')
        return model

    setup.node._load = load_and_clean_up
    assert 'cleaned up meanwhile' in setup.reload().message
    setup.until(lambda: loaded[0]() is None)


def test_failures_keep_no_model(setup, tmp_path, tiny_model):
    """Exceptions keep the stack frames that they passed through, and their objects."""
    path = tmp_path / 'model.onnx'
    path.write_bytes(tiny_model.read_bytes())
    setup.node.set_parameters([Parameter('model', value=str(path))])
    setup.change('configure', 'activate')
    setup.until(lambda: setup.images.get_subscription_count())
    setup.send()
    session = setup.session()
    path.write_bytes(b'no model')
    assert not setup.reload().success
    setup.change('deactivate', 'cleanup')
    setup.until(lambda: session() is None)
    task = setup.executor.create_task(setup.node.change_state, 'configure')
    setup.until(task.done)
    assert not task.result()


def test_transitions_also_work_without_an_executor(setup):
    from rclpy.lifecycle import TransitionCallbackReturn

    done = TransitionCallbackReturn.SUCCESS
    assert setup.node.trigger_configure() == done
    session = setup.session()
    assert setup.node.trigger_activate() == done
    assert setup.node.state == 'active'
    assert setup.node.trigger_deactivate() == done
    assert setup.node.trigger_cleanup() == done
    setup.until(lambda: session() is None)
