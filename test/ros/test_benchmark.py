# SPDX-License-Identifier: Apache-2.0
"""Publishers of the benchmark."""

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.ros.message_sink import MessageSink


@pytest.mark.ros
def test_a_benchmark_stays_out_of_the_users_domain(ros_domain):
    with MessageSink() as sink:
        assert sink.domain_id != ros_domain
