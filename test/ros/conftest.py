"""Real ROS 2 processes in a domain of their own."""

import os
import sys
from pathlib import Path

import pytest

from panoptic_ros.demo.processes import ros_environment

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves node_process unfindable


@pytest.fixture(scope='session')
def ros_domain() -> int:
    """A free domain per test process, on this machine only, with room for whole images.

    What the caller has set for ROS is replaced: no test may reach a node that runs here.
    """
    pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
    kept = {name: value for name, value in os.environ.items() if name == 'ROS_DISTRO'}
    os.environ.update(ros_environment(kept))
    return int(os.environ['ROS_DOMAIN_ID'])
