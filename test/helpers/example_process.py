# SPDX-License-Identifier: Apache-2.0
"""An example as a process, and a node that feeds it as the panoptic node would."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from std_msgs.msg import String
from tiny_model import LABELS

from panoptic_ros.node.messages import label_json_message
from panoptic_ros.ros.message_types import RosTypes

EXAMPLES = Path(__file__).parents[2] / 'examples'
TIMEOUT_S = 60.0


def import_example(path: Path):
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_example(
    path: Path, parameters: dict[str, object], topic: str, message, output: str, kind: type
) -> tuple[object, str]:
    """Publish labels and one message again and again until an example answers.

    Args:
        path: the example.
        parameters: its ROS parameters.
        topic: topic of the message.
        message: what the panoptic node would publish.
        output: topic of the answer.
        kind: type of the answer.

    Returns:
        The first answer, and what the example wrote to standard error until SIGINT ended it.
    """
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node('example_test', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    labels = node.create_publisher(String, 'panoptic/label_info', latched)
    labels.publish(label_json_message(RosTypes(), LABELS, 0.5, None))
    publisher = node.create_publisher(type(message), topic, 5)
    found: list[object] = []
    node.create_subscription(kind, output, found.append, 5)
    flags = [text for name, value in parameters.items() for text in ('-p', f'{name}:={value}')]
    process = subprocess.Popen(
        [sys.executable, str(path), '--ros-args', *flags],
        env=os.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end_s = time.monotonic() + TIMEOUT_S
        while not found:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end_s
            publisher.publish(message)
            executor.spin_once(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        executor.shutdown(0)
        node.destroy_node()
        rclpy.shutdown(context=context)
    return found[0], said
