# SPDX-License-Identifier: Apache-2.0
"""The node as a process, and a client node that talks with it."""

import array
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool, Trigger

from panoptic_ros.node.topics import frame_topics
from panoptic_ros.ros.message_types import message_class

TIMEOUT_S = 60.0
"""Longest wait for anything that is expected, as the machine may be busy; seconds."""

RESEND_S = 5.0
"""Longest wait for an answer to a request that may be repeated; seconds."""

SERVICES = {
    'change_state': ChangeState,
    'set_parameters': SetParameters,
    'set_parameters_atomically': SetParametersAtomically,
    'get_parameters': GetParameters,
    'enable': SetBool,
    'reload_model': Trigger,
    'reset_tracks': Trigger,
    'get_available_states': GetAvailableStates,
    'get_available_transitions': GetAvailableTransitions,
    'get_transition_graph': GetAvailableTransitions,
    'get_state': GetState,
}
"""Type by service of the node; `get_state`, which each call asks first, is the last."""

OUTPUTS = {
    topic.name.removeprefix('panoptic/'): message_class(topic.kind)
    for topic in frame_topics(vision=False)
    if not topic.in_metres
}
"""Message class by topic of each frame."""

OUTPUTS_IN_METRES = {
    topic.name.removeprefix('panoptic/'): message_class(topic.kind)
    for topic in frame_topics(vision=False)
    if topic.in_metres
}
"""Message class by topic of frames with depth or a cloud."""


class NodeProcess:
    """Process of `panoptic_node` with some parameters."""

    def __init__(
        self, log: Path, parameters: dict[str, object], *more: str, before: tuple[str, ...] = ()
    ) -> None:
        self.log_path = log
        arguments = [
            text for name, value in parameters.items() for text in ('-p', f'{name}:={value}')
        ]
        with log.open('w') as file:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    '-m',
                    'panoptic_ros.ros.main',
                    '--ros-args',
                    *before,
                    *arguments,
                    *more,
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {'OMP_NUM_THREADS': '1'},
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for_log(self, text: str, count: int = 1) -> None:
        end_s = time.monotonic() + TIMEOUT_S
        while self.log.count(text) < count:
            assert self.process.poll() is None, f'the node ended:\n{self.log}'
            assert time.monotonic() < end_s, f'not in the log: {text}\n{self.log}'
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()


class Graph:
    """Client node that publishes images and keeps the messages that it receives."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node('test_graph', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.image = self.node.create_publisher(Image, 'image', 10)
        self.compressed = self.node.create_publisher(CompressedImage, 'image/compressed', 10)
        self.messages: dict[str, list] = {
            name: [] for name in (*OUTPUTS, *OUTPUTS_IN_METRES, 'label_info')
        }
        self.diagnostics: list[DiagnosticArray] = []
        self._outputs: dict[str, object] = {}
        self._clients = {
            name: self.node.create_client(kind, f'/panoptic_node/{name}')
            for name, kind in SERVICES.items()
        }
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self.diagnostics.append, 10)

    def close(self) -> None:
        self._executor.shutdown(0)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def subscribe(self, *names: str) -> None:
        """Subscribe to exactly these outputs, and wait until the node has publishers for them."""
        for name in set(self._outputs) - set(names):
            self.node.destroy_subscription(self._outputs.pop(name))
        for name in set(names) - set(self._outputs):
            qos, kind = QoSProfile(depth=10), (OUTPUTS | OUTPUTS_IN_METRES).get(name)
            if name == 'label_info':
                kind = String
                qos.durability = QoSDurabilityPolicy.TRANSIENT_LOCAL
            self._outputs[name] = self.node.create_subscription(
                kind, f'panoptic/{name}', self.messages[name].append, qos
            )
        self.until(lambda: all(self.node.count_publishers(f'panoptic/{name}') for name in names))

    def forget_messages(self) -> None:
        for messages in self.messages.values():
            messages.clear()

    def until(self, condition, timeout_s: float = TIMEOUT_S):
        """Spin until a condition holds, and return its value."""
        end_s = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < end_s, 'timed out'
            self._executor.spin_once(0.02)
        return value

    def spin(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._executor.spin_once(0.02)

    def wait_for_input(self, topic: str = 'image', count: int = 1) -> None:
        """Wait until the node has `count` subscriptions."""
        self.until(lambda: self.node.count_subscribers(topic) == count)

    def call(self, service: str, request):
        """Return the response to a request."""
        future = self.send(service, request)
        self.until(future.done)
        return future.result()

    def send(self, service: str, request):
        """Send a request, and return its future."""
        self._wait_until_found()
        return self._clients[service].call_async(request)

    def _wait_until_found(self) -> None:
        """Wait until the node knows the clients; it cannot answer those it has not found.

        The middleware announces clients in the order of their creation, so an answer to the last
        one means that the node knows all.
        """
        for client in self._clients.values():
            self.until(client.service_is_ready)
        end_s = time.monotonic() + TIMEOUT_S
        while True:
            future = client.call_async(GetState.Request())
            resend_s = time.monotonic() + RESEND_S
            self.until(lambda: future.done() or time.monotonic() > resend_s)  # noqa: B023
            if future.done():
                return
            assert time.monotonic() < end_s, 'the node does not answer'

    def trigger(self, service: str) -> Trigger.Response:
        return self.call(service, Trigger.Request())

    def begin_reload(self):
        """Request a reload, and return its future once the model is loading."""
        future = self.send('reload_model', Trigger.Request())
        self.until(lambda: 'has been loading' in self.status('model')[1])
        return future

    def enable(self, value: bool) -> SetBool.Response:
        return self.call('enable', SetBool.Request(data=value))

    def change_state(self, name: str) -> bool:
        number = getattr(Transition, f'TRANSITION_{name.upper()}')
        request = ChangeState.Request(transition=Transition(id=number))
        return self.call('change_state', request).success

    @property
    def state(self) -> str:
        return self.call('get_state', GetState.Request()).current_state.label

    def set_parameter(self, name: str, value) -> str:
        """Set a parameter; return the reason of a refusal, or an empty string."""
        message = rclpy.parameter.Parameter(name, value=value).to_parameter_msg()
        assert isinstance(message, Parameter)
        response = self.call('set_parameters', SetParameters.Request(parameters=[message]))
        (result,) = response.results
        assert result.successful == (not result.reason)
        return result.reason

    def get_parameter(self, name: str):
        """Return the value of a parameter; None if it is not declared."""
        response = self.call('get_parameters', GetParameters.Request(names=[name]))
        return parameter_value_to_python(response.values[0]) if response.values else None

    def status(self, name: str) -> tuple[int, str, dict[str, str]]:
        """Return level, message and values of a status that is newer than this call."""
        asked, arrays = self.node.get_clock().now().nanoseconds, self.diagnostics

        def newest():
            if (
                not arrays
                or (arrays[-1].header.stamp.sec * 10**9 + arrays[-1].header.stamp.nanosec) < asked
            ):
                return None
            return arrays[-1]

        for status in self.until(newest).status:
            if status.name == f'/panoptic_node: {name}':
                return status.level[0], status.message, {v.key: v.value for v in status.values}
        raise AssertionError(f'no status {name}')

    def counts(self) -> dict[str, int]:
        """Return the counts of the input, which must add up."""
        values = self.status('input/camera')[2]
        counts = {
            key: int(value)
            for key, value in values.items()
            if key.startswith(('received', 'published', 'dropped', 'in flight'))
        }
        assert counts['received'] == sum(counts.values()) - counts['received'], counts
        return counts


def image_message(rgb: np.ndarray, number: int, encoding: str = 'rgb8', **changes) -> Image:
    """Return an Image whose header is unique to its number."""
    message = Image(
        header=header(number),
        height=rgb.shape[0],
        width=rgb.shape[1],
        encoding=encoding,
        step=rgb.shape[1] * 3,
    )
    message.data = array.array('B', rgb.tobytes())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def header(number: int) -> Header:
    """Return a header stamped `number` tenths of a second and one nanosecond after 1000 s."""
    value = Header(frame_id=f'camera_{number}')
    value.stamp.sec, value.stamp.nanosec = 1000 + number // 10, number % 10 * 10**8 + 1
    return value
