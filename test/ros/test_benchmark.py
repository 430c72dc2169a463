# SPDX-License-Identifier: Apache-2.0
"""Publishers of the benchmark."""

import time

import numpy as np
import pytest
from tiny_model import LABELS

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.node.stages import Stage
from panoptic_ros.ros.message_sink import MessageSink


@pytest.mark.ros
def test_a_benchmark_stays_out_of_the_users_domain(ros_domain):
    with MessageSink() as sink:
        assert sink.domain_id != ros_domain


@pytest.mark.ros
@pytest.mark.parametrize('points_stride', [None, 2])
def test_stages_are_timed_apart(points_stride):
    size = 64, 128
    rows = np.zeros(1, segment_dtype(4))
    rows['segment_id'] = rows['is_thing'] = rows['track_id'] = 1
    frame = PanopticFrame(np.ones(size, np.uint16), rows, Geometry(size, size, 1), 0)
    with MessageSink(points_stride) as sink:
        start_s = time.perf_counter()
        times = sink.send(CameraImage(np.zeros((*size, 3), np.uint8)), frame, LABELS)
        spent_s = time.perf_counter() - start_s
    stages = {Stage.MESSAGES, Stage.PUBLISH}
    if points_stride:
        stages |= {Stage.METRES, Stage.POINTS, Stage.MARKERS, Stage.CLOUD}
    assert set(times) == stages
    assert min(times.values()) > 0 and sum(times.values()) <= spent_s
