"""Real ROS 2 processes in a domain of their own."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves node_process unfindable


@pytest.fixture(scope='session')
def ros_domain() -> int:
    """A domain per test process, on this machine only, with room for whole images."""
    pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
    from panoptic_ros.share import share_file

    domain = 1 + os.getpid() % 100
    profile = str(share_file('config/fastdds.xml'))
    os.environ.update({
        'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTRTPS_DEFAULT_PROFILES_FILE': profile, 'FASTDDS_DEFAULT_PROFILES_FILE': profile})
    return domain
