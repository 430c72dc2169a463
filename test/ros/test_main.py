# SPDX-License-Identifier: Apache-2.0
"""Signals to the node's process, from its first import to a graph that never ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from node_process import NodeProcess, image_message
from tiny_model import make_tiny_model, paint_scene

pytestmark = pytest.mark.ros

END_S = 5.0
"""Time after which `ros2 launch` sends the next signal, seconds."""

SIGNALLED = '''
import os, signal, sys
point, number = sys.argv[1], int(sys.argv[2])

def hit():
    for _ in range(2):
        os.kill(os.getpid(), number)

class Watch:
    """Import hook that sends the signals before a module is imported."""
    def find_spec(self, name, path=None, target=None):
        if name == point:
            sys.meta_path.remove(self)
            hit()

sys.meta_path.insert(0, Watch())
if '(' in point:
    import rclpy
    from panoptic_ros.ros import node
    place, name = {'init(': (rclpy, 'init'), 'declare(': (node, 'declare_parameters'),
                   'node(': (node.PanopticNode, '__init__')}[point]
    real = getattr(place, name)
    def call(*arguments, **values):
        result = real(*arguments, **values)
        hit()
        return result
    setattr(place, name, call)
from panoptic_ros.ros.main import main
sys.exit(main([]))
'''


@pytest.mark.parametrize(
    ('point', 'number'),
    [
        ('rclpy', signal.SIGINT),
        ('panoptic_ros.ros.node', signal.SIGTERM),
        ('init(', signal.SIGINT),
        ('declare(', signal.SIGTERM),
        ('node(', signal.SIGINT),
        ('onnxruntime', signal.SIGTERM),  # the model is being loaded
    ],
)
def test_signals_while_the_node_starts_end_it_without_an_error(ros_domain, point, number):
    done = subprocess.run(
        [sys.executable, '-c', SIGNALLED, point, str(int(number))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert 'Traceback' not in done.stderr


def ended_after_s(node: NodeProcess, *numbers: int) -> float:
    start_s = time.monotonic()
    for number in numbers[:-1]:
        node.process.send_signal(number)
    assert node.end(numbers[-1]) == 0, node.log
    assert 'Traceback' not in node.log
    return time.monotonic() - start_s


def test_a_model_that_never_finishes_loading_ends_with_a_signal(graph, start, tmp_path):
    node = start({'model': make_tiny_model(tmp_path / 'endless.onnx', endless=0)})
    graph.until(lambda: graph.state == 'configuring')
    assert ended_after_s(node, signal.SIGINT, signal.SIGINT, signal.SIGTERM) < END_S


def test_an_image_that_never_finishes_ends_with_a_signal(graph, start, tmp_path):
    node = start(
        {
            'model': make_tiny_model(tmp_path / 'endless.onnx', endless=255),
            'input_reliability': 'reliable',
            'input_transport': 'raw',
            'idle_after_s': 0.0,
        }
    )
    node.wait_for_log('subscribed to')
    graph.wait_for_input()
    white = paint_scene(48, 96)
    white[:] = 255

    def is_stuck() -> bool:
        graph.image.publish(image_message(white, 1))
        return graph.counts()['in flight'] > 0

    graph.until(is_stuck)
    assert ended_after_s(node, signal.SIGTERM) < END_S


def test_a_wrong_command_line_is_one_line(ros_domain):
    done = subprocess.run(
        [sys.executable, '-m', 'panoptic_ros.ros.main', '--ros-args', '-r', 'nonsense'],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
    )
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()  # rcl itself also writes one
    assert line.startswith('panoptic_node: error: ')
    assert 'nonsense' in line


BUSY = '''
import gc, os, threading, time
from rclpy.node import Node
from panoptic_ros.ros import node

class BusyNode(Node):
    """Node whose timer runs a thousand times a second."""

    def __init__(self):
        super().__init__('busy')
        self.calls = 0
        self.create_timer(0.001, self.call)

    def call(self):
        self.calls += 1

    async def autostart(self):
        global running
        running = self

    def close(self, timeout_s):
        pass

node.PanopticNode = BusyNode
from panoptic_ros.ros.main import _Run
running = None
run = _Run([], os.pipe()[1])
thread = threading.Thread(target=run)
thread.start()

def objects(calls):
    """Return the number of objects after so many calls of the timer."""
    while running is None or running.calls < calls:
        time.sleep(0.01)
    gc.collect()
    return len(gc.get_objects())

before = objects(500)
print(objects(1500) - before)
run.stop()
thread.join(10)
print(thread.is_alive())
'''


def test_callbacks_leave_nothing_behind(ros_domain):
    """The executor of rclpy kept a function for each callback, which took 1 MB a minute."""
    done = subprocess.run([sys.executable, '-c', BUSY], capture_output=True, text=True, timeout=60)
    more, is_alive = done.stdout.split()[-2:]  # DDS may write before them
    assert int(more) < 300, done.stderr
    assert is_alive == 'False'
