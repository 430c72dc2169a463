# SPDX-License-Identifier: Apache-2.0
"""Faults around the node, one function each; each leaves everything as it was.

A new one is a function and a row of `FAULTS`.
"""

import array
import math
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from node_process import image_message
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, PointCloud2, PointField
from std_srvs.srv import Trigger
from tiny_model import paint_scene

from panoptic_ros.core.settings import Setting
from panoptic_ros.node.parameters import PARAMETERS
from soak.camera import HEIGHT, WIDTH, depth_message, info_message
from soak.robot import CAMERAS, KINDS, Robot

SCENE = paint_scene(48, 96)

EMPTY = array.array('B')

BAD_IMAGES: list[dict[str, Any]] = [
    {'encoding': ''},
    {'encoding': 'strange'},
    {'encoding': 'x\n' * 50_000},
    {'encoding': '16UC1'},
    {'encoding': '32FC1'},
    {'encoding': 'rgb16'},
    {'encoding': 'yuv422'},
    {'encoding': 'bayer_rggb16'},
    {'encoding': 'nv12', 'height': 47},
    {'encoding': 'rgba8'},
    {'step': 0},
    {'step': 10},
    {'step': 2**32 - 1},
    {'height': 0},
    {'height': 2**32 - 1},
    {'width': 2**32 - 1, 'height': 2**32 - 1},
    {'width': 0, 'height': 0, 'step': 0, 'data': EMPTY},
    {'data': EMPTY},
    {'data': array.array('B', bytes(7))},
]

STAMPS = [(0, 0), (1, 0), (-5, 0), (2**31 - 1, 999_999_999)]
"""(seconds, nanoseconds) of images."""

PATHS = [['deactivate', 'activate'], ['deactivate', 'cleanup', 'configure', 'activate']]


def bad_images(robot: Robot, rng: random.Random) -> None:
    camera = rng.choice(CAMERAS)
    for changes in rng.sample(BAD_IMAGES, 8):
        robot.publish(f'{camera}/image', image_message(SCENE, 0, **changes))
    for form, size in (('jpeg', 100), ('png', 0), ('16UC1; compressedDepth png', 50)):
        data = array.array('B', rng.randbytes(size))
        robot.publish(f'{camera}/image/compressed', CompressedImage(format=form, data=data))


def wrong_stamps(robot: Robot, rng: random.Random) -> None:
    now_s = time.time_ns() // 10**9
    stamps = [*STAMPS, (now_s + 100, 0), (now_s - 100, 0), *[(now_s, 5)] * 3]
    for second, nanosecond in rng.sample(stamps, len(stamps)):
        message = image_message(SCENE, 0)
        message.header.stamp = Time(sec=second, nanosec=nanosecond)
        robot.publish(f'{rng.choice(CAMERAS)}/image', message, now=False)


def jumping_clock(robot: Robot, rng: random.Random) -> None:
    """A clock of a simulation that jumps, stands still and is not there."""
    clock = robot.node.create_publisher(Clock, '/clock', 10)
    robot.change('use_sim_time', True)
    now_s = time.time_ns() // 10**9
    for jump_s in (0, rng.randint(-1000, 0), 10**6, -now_s, 0):
        for step in range(5):
            clock.publish(Clock(clock=Time(sec=now_s + jump_s + step)))
            robot.spin(0.05)
    robot.spin(rng.uniform(0, 1.5))
    robot.change('use_sim_time', False)
    robot.node.destroy_publisher(clock)


def input_of_another_qos(robot: Robot, rng: random.Random) -> None:
    """The drivers are best effort, the node asks for reliable images."""
    robot.transit('deactivate', 'cleanup')
    robot.change('input_reliability', 'reliable')
    robot.transit('configure', 'activate')
    robot.spin(rng.uniform(0, 2))
    robot.transit('deactivate', 'cleanup')
    robot.change('input_reliability', 'best_effort')
    robot.transit('configure', 'activate')


def subscribers_of_another_qos(robot: Robot, rng: random.Random) -> None:
    durable = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    listeners = [robot.listen(rng.choice(CAMERAS), output, durable) for output in KINDS]
    robot.spin(0.5)
    for listener in listeners:
        robot.node.destroy_subscription(listener)


def subscribers_that_come_and_go(robot: Robot, rng: random.Random) -> None:
    for _ in range(5):
        qos = QoSProfile(depth=1, reliability=rng.choice(list(QoSReliabilityPolicy)[1:3]))
        listeners = [
            robot.listen(rng.choice(CAMERAS), output, qos) for output in rng.sample(list(KINDS), 4)
        ]
        robot.spin(rng.uniform(0, 0.4))
        for listener in listeners:
            robot.node.destroy_subscription(listener)


def nobody_subscribes(robot: Robot, rng: random.Random) -> None:
    """The node becomes idle, and says so."""
    robot.change('idle_after_s', 0.3)
    before = {name: robot.watch.last(name, 'dropped idle') for name in CAMERAS}
    robot.ignore_results()
    robot.until(lambda: all(robot.watch.last(n, 'dropped idle') > before[n] for n in CAMERAS))
    robot.watch_results()
    robot.change('idle_after_s', 5.0)


def parameters(robot: Robot, rng: random.Random) -> None:
    """Valid and invalid values, all of which are taken back."""
    changeable = [p for p in PARAMETERS if not (p.read_only or p.at_reload)]
    chosen = rng.sample(changeable, 6)
    before = [(setting.name, robot.get_parameter(setting.name)) for setting in chosen]
    for setting in chosen:
        robot.set_parameter(setting.name, _some_value(setting, rng))
        robot.set_parameter(
            setting.name, rng.choice([math.nan, -1, 'nonsense', [''], True, [0.5]])
        )
        robot.set_parameter(f'{setting.name}x', 1)
    robot.spin(rng.uniform(0, 1))
    for name, value in before[::-1] * 2:  # twice, as some values contradict others
        robot.set_parameter(name, value)
    for name, value in before:
        assert robot.get_parameter(name) == value, f'{name} is not {value!r} again'


def _some_value(setting: Setting, rng: random.Random) -> Any:
    """Return a value that the declaration of a setting allows."""
    default = setting.default
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return ['ball']
    if isinstance(default, str):
        return rng.choice(setting.pattern.split('|'))
    lower, upper = (min(max(limit, -1e6), 1e6) for limit in setting.closed_range)
    value = rng.uniform(lower, upper)
    return value if isinstance(default, float) else round(value)


def services(robot: Robot, rng: random.Random) -> None:
    assert robot.trigger('reset_tracks').success
    assert robot.enable(False).success
    robot.spin(rng.uniform(0, 1))
    for transition in ('configure', 'activate', 'cleanup'):
        assert not robot.change_state(transition)
    assert robot.enable(True).success


def driver_that_stands_still(robot: Robot, rng: random.Random) -> None:
    driver = robot.drivers[rng.choice(CAMERAS)]
    driver.send_signal(signal.SIGSTOP)
    robot.spin(rng.uniform(0.5, 7))
    driver.send_signal(signal.SIGCONT)


def driver_that_is_killed(robot: Robot, rng: random.Random) -> None:
    camera = rng.choice(CAMERAS)
    robot.stop_driver(camera, signal.SIGKILL)
    robot.spin(rng.uniform(0, 1))
    robot.start_driver(camera)


def flood_of_images(robot: Robot, rng: random.Random) -> None:
    camera, height = rng.choice(CAMERAS), rng.randint(1, 400)
    message = image_message(paint_scene(height, 2 * height), 0)
    for _ in range(50):
        robot.publish(f'{camera}/image', message)


def bad_depth(robot: Robot, rng: random.Random) -> None:
    camera = rng.choice(CAMERAS)
    for values in (
        np.zeros((HEIGHT, WIDTH)),
        np.full((HEIGHT, WIDTH), np.nan),
        np.full((HEIGHT // 2, WIDTH), 3.0),
        np.full((1, 1), np.inf),
    ):
        robot.publish(f'{camera}/depth', depth_message(values, '32FC1'))
    broken = depth_message(np.full((HEIGHT, WIDTH), 3000), '16UC1')
    broken.encoding, broken.step = 'strange', 1
    robot.publish(f'{camera}/depth', broken)
    for info in (info_message(0.0), info_message(math.nan), info_message(size=(7, 9))):
        robot.publish(f'{camera}/camera_info', info)
    cloud = PointCloud2(height=1, width=10, point_step=4, row_step=40)
    cloud.fields = [PointField(name='x', offset=0, datatype=7, count=1)]
    robot.publish(f'{camera}/cloud', cloud)


def transitions(robot: Robot, rng: random.Random) -> None:
    robot.transit(*rng.choice(PATHS))


def another_model(robot: Robot, rng: random.Random) -> None:
    for model in rng.sample(list(robot.models.values()), 2):
        robot.change('model', str(model))
        answer = robot.trigger('reload_model')
        assert answer.success, answer.message


def damaged_model(robot: Robot, rng: random.Random) -> None:
    before = robot.get_parameter('model')
    robot.change('model', str(robot.damaged))
    assert not robot.trigger('reload_model').success
    robot.change('model', before)


def transitions_while_a_model_loads(robot: Robot, rng: random.Random) -> None:
    robot.change('model', str(rng.choice(list(robot.models.values()))))
    client = robot.node.create_client(Trigger, '/panoptic_node/reload_model')
    robot.until(client.service_is_ready)
    requests = [client.call_async(Trigger.Request()) for _ in range(2)]
    robot.spin(rng.uniform(0, 0.3))
    robot.transit(*rng.choice(PATHS))
    robot.until(lambda: all(request.done() for request in requests))
    robot.node.destroy_client(client)


FAULTS: tuple[Callable[[Robot, random.Random], None], ...] = (
    bad_images,
    wrong_stamps,
    jumping_clock,
    input_of_another_qos,
    subscribers_of_another_qos,
    subscribers_that_come_and_go,
    nobody_subscribes,
    parameters,
    services,
    driver_that_stands_still,
    driver_that_is_killed,
    flood_of_images,
    bad_depth,
    transitions,
    another_model,
    damaged_model,
    transitions_while_a_model_loads,
)
"""Each round runs all of them in another order."""
