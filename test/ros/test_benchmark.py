# SPDX-License-Identifier: Apache-2.0
"""Publishers of the benchmark."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_model import LABELS

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.node.stages import Stage
from panoptic_ros.ros import message_sink
from panoptic_ros.ros.message_sink import RECEIVER, MessageSink


@pytest.mark.ros
def test_a_benchmark_stays_out_of_the_users_domain(ros_domain):
    with MessageSink() as sink:
        assert sink.domain_id != ros_domain


@pytest.fixture
def frame():
    size = 64, 128
    rows = np.zeros(1, segment_dtype(4))
    rows['segment_id'] = rows['is_thing'] = rows['track_id'] = 1
    return PanopticFrame(np.ones(size, np.uint16), rows, Geometry(size, size, 1), 0)


IMAGE = CameraImage(np.zeros((64, 128, 3), np.uint8))


@pytest.mark.ros
@pytest.mark.parametrize('other_process', [False, True])
@pytest.mark.parametrize('points_stride', [None, 2])
def test_stages_are_timed_apart(ros_domain, frame, points_stride, other_process):
    stages = {Stage.MESSAGES, Stage.PUBLISH}
    if points_stride:
        stages |= {Stage.METRES, Stage.POINTS, Stage.MARKERS, Stage.CLOUD}
    with MessageSink(points_stride, other_process) as sink:
        for _ in range(2):
            start_s = time.perf_counter()
            times = sink.send(IMAGE, frame, LABELS)
            spent_s = time.perf_counter() - start_s
            assert set(times) == stages | ({Stage.RECEIVE} if other_process else set())
            assert min(times[stage] for stage in stages) > 0
            assert sum(times.values()) <= spent_s
        assert sink._arrivals.empty()


@pytest.mark.ros
def test_a_receiver_that_is_late_counts_and_a_lost_one_is_an_error(
    ros_domain, frame, monkeypatch, capfd
):
    with MessageSink(other_process=True) as sink:
        receiver = next(pid for pid in children_of(os.getpid()) if RECEIVER in command_of(pid))
        os.kill(receiver, signal.SIGSTOP)
        late = threading.Timer(0.7, os.kill, (receiver, signal.SIGCONT))
        late.start()
        assert sink.send(IMAGE, frame, LABELS)[Stage.RECEIVE] > 0.5
        os.kill(receiver, signal.SIGINT)
        monkeypatch.setattr(message_sink, 'TIMEOUT_S', 0.5)
        lost = r'has not received all \d messages of an image within 0\.5 s; see `panoptic doctor`'
        with pytest.raises(TimeoutError, match=lost):
            while True:
                sink.send(IMAGE, frame, LABELS)
    assert 'Traceback' not in capfd.readouterr().err


def children_of(pid):
    return map(int, Path(f'/proc/{pid}/task/{pid}/children').read_text().split())


def command_of(pid):
    return Path(f'/proc/{pid}/cmdline').read_text()
