# SPDX-License-Identifier: Apache-2.0
"""Transforms from TF, with a stand-in of tf2_ros, which no package index has."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from builtin_interfaces.msg import Time as Stamp
from geometry_msgs.msg import TransformStamped
from rclpy.clock import ROSClock
from rclpy.time import Time

from panoptic_ros.ros import transforms
from panoptic_ros.ros.transforms import Transforms


class TransformException(Exception):
    pass


class Buffer:
    """Knows the lidar at one time: 1 m before the camera, turned by a quarter about z."""

    known_ns = 5 * 10**9
    cleared = 0

    def clear(self):
        Buffer.cleared += 1

    def lookup_transform(self, target_frame, source_frame, time, timeout=None):
        if (target_frame, source_frame) != ('camera', 'lidar'):
            raise TransformException('"x" passed to lookupTransform\ndoes not exist.')
        if time.nanoseconds not in (0, self.known_ns):
            raise TransformException('Lookup would require extrapolation into the future.')
        found = TransformStamped()
        found.transform.translation.z = 1.0 if time.nanoseconds else 2.0
        found.transform.rotation.z = found.transform.rotation.w = 0.5**0.5
        return found


class TransformListener:
    alive = 0

    def __init__(self, buffer, node, *, spin_thread=False):
        assert isinstance(buffer, Buffer) and node and not spin_thread
        TransformListener.alive += 1

    def unregister(self):
        TransformListener.alive -= 1


def node():
    return SimpleNamespace(get_clock=ROSClock)


@pytest.fixture
def tf2(monkeypatch):
    module = ModuleType('tf2_ros')
    for part in (TransformException, Buffer, TransformListener):
        setattr(module, part.__name__, part)
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    TransformListener.alive = Buffer.cleared = 0


def test_the_transform_of_the_stamp_or_else_the_newest(tf2):
    lookup = Transforms(node())
    lookup.listen()
    for stamp_s, z in ((5, 1), (6, 2)):
        matrix = lookup('camera', 'lidar', Stamp(sec=stamp_s))
        np.testing.assert_allclose(matrix @ [1, 0, 0, 1], [0, 1, z, 1], atol=1e-12)
    with pytest.raises(ValueError, match="no transform from 'lidar' to 'map'") as error:
        lookup('map', 'lidar', Stamp(sec=5))
    assert str(error.value).endswith('publish it') and '\n' not in str(error.value)


def test_clouds_wait_until_transforms_may_have_arrived(tf2, monkeypatch):
    lookup = Transforms(node())
    assert not lookup.listen() and not lookup.listen() and TransformListener.alive == 1
    monkeypatch.setattr(transforms, 'START_S', 0)
    assert lookup.listen()
    lookup.close()
    assert TransformListener.alive == 0


def test_transforms_are_forgotten_when_the_clock_goes_back_as_in_a_bag_that_starts_again(tf2):
    clock = ROSClock()
    clock._set_ros_time_is_active(True)  # as use_sim_time does
    lookup = Transforms(SimpleNamespace(get_clock=lambda: clock))
    lookup.listen()
    for at_s, cleared in ((1000, 0), (1036, 0), (1036, 0), (1000, 1), (1036, 1), (1035.9, 2)):
        clock.set_ros_time_override(Time(nanoseconds=int(at_s * 1e9)))
        assert Buffer.cleared == cleared, at_s
    lookup.close()
    clock.set_ros_time_override(Time(nanoseconds=0))
    assert Buffer.cleared == 2


def test_without_tf2_ros_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    lookup = Transforms(node())
    assert lookup.listen()
    with pytest.raises(ValueError, match=r'tf2_ros is not installed; install it$'):
        lookup('camera', 'lidar', Stamp())
    lookup.close()
