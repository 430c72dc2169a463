# SPDX-License-Identifier: Apache-2.0
"""Middleware that this interpreter loads: `python -m panoptic_ros.ros.probe` writes it as JSON.

The ROS library ends the process if RMW_IMPLEMENTATION names one that is not installed, so this
runs in a process of its own.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import rclpy
from rclpy.utilities import get_rmw_implementation_identifier

from panoptic_ros.core.text import reason_of
from panoptic_ros.ros.message_types import RosTypes, message_class

PACKAGES = (
    'rcl_interfaces',
    'sensor_msgs',
    'std_msgs',
    'diagnostic_msgs',
    'visualization_msgs',
    'lifecycle_msgs',
    'std_srvs',
    'rosgraph_msgs',
)
"""Packages of messages and services that the node needs."""


def main() -> None:
    """Print the middleware, its library, and the message packages that are missing."""
    middleware = get_rmw_implementation_identifier()
    try:
        message_class('sensor_msgs/msg/Image')()
        broken = ''
    except Exception as error:
        broken = reason_of(error)
    maps = Path('/proc/self/maps').read_text().split()
    print(
        json.dumps(
            {
                'rclpy': rclpy.__file__,
                'middleware': middleware,
                'libraries': sorted(
                    {word for word in maps if re.search(r'/lib(fastrtps|fastdds)\.so', word)}
                ),
                'missing_messages': [name for name in PACKAGES if find_spec(name) is None],
                'broken_messages': broken,
                'vision_msgs': RosTypes.vision,
            }
        )
    )


if __name__ == '__main__':
    main()
