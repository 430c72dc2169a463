# SPDX-License-Identifier: Apache-2.0
"""A short soak, and one whose node crashes or miscounts."""

import os
import random
import signal

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.ros.processes import ros_environment
from soak import __main__ as soak
from soak.faults import FAULTS
from soak.report import report_lines
from soak.robot import CAMERAS, Robot

pytestmark = pytest.mark.ros


@pytest.fixture
def robot(tmp_path, monkeypatch):
    for name, value in ros_environment({}).items():
        monkeypatch.setenv(name, value)
    with Robot(int(os.environ['ROS_DOMAIN_ID']), tmp_path).running() as robot:
        yield robot


def test_ten_seconds_without_a_finding(robot):
    recovery_s = soak.run(robot, random.Random(0), 10.0)
    lines = list(report_lines(robot.watch, recovery_s))
    assert lines[-1] == '0 findings', '\n'.join(lines)
    assert recovery_s
    assert set(recovery_s) <= {fault.__name__ for fault in FAULTS}
    for camera in CAMERAS:
        assert robot.watch.totals(camera)['published'] > 0


def test_missing_results_and_a_crash_are_found(robot, monkeypatch):
    def lose_driver(robot: Robot, rng: random.Random) -> None:
        robot.stop_driver('rear', signal.SIGKILL)

    def crash(robot: Robot, rng: random.Random) -> None:
        robot.process.process.send_signal(signal.SIGSEGV)
        robot.process.process.wait()

    monkeypatch.setattr(soak, 'RECOVERY_S', 3.0)
    for fault, words in (
        (lose_driver, "lose_driver: no result of ['rear'] for 3 s; the node reports {"),
        (crash, 'crash: the node ended with code -11'),
    ):
        monkeypatch.setattr(soak, 'FAULTS', (fault,))
        soak.run(robot, random.Random(0), 60.0)
        assert robot.watch.findings.pop().startswith(words)
        assert not robot.watch.findings
        robot.start_driver('rear')
