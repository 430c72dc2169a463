# SPDX-License-Identifier: Apache-2.0
"""Command line of the soak: `make soak`, or `PYTHONPATH=test python -m soak`."""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from panoptic_ros.ros.processes import isolated_ros
from soak.faults import FAULTS
from soak.report import report_lines
from soak.robot import Robot

START_S = 120.0
"""Longest time until the first results, seconds."""

RECOVERY_S = 30.0
"""Longest time until the results of all cameras come again after a fault, seconds."""


def main() -> int:
    """Run for some minutes and print the report; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog='soak', description=__doc__)
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    with isolated_ros(), tempfile.TemporaryDirectory() as folder:
        robot = Robot(int(os.environ['ROS_DOMAIN_ID']), Path(folder))
        with robot.running():
            recovery_s = run(robot, random.Random(args.seed), 60 * args.minutes)
    for line in report_lines(robot.watch, recovery_s):
        print(line)
    return 1 if robot.watch.findings else 0


def run(robot: Robot, rng: random.Random, duration_s: float) -> dict[str, list[float]]:
    """Provoke faults until the time is over, or until the node does not recover from one.

    Returns:
        Seconds until all cameras have results again, by fault.
    """
    recovery_s: dict[str, list[float]] = defaultdict(list)
    waiting, fault = [], 'the start'
    try:
        robot.wait_for_results(START_S)
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            waiting = waiting or rng.sample(FAULTS, len(FAULTS))
            provoke = waiting.pop()
            fault = provoke.__name__
            provoke(robot, rng)
            recovery_s[fault].append(robot.wait_for_results(RECOVERY_S))
            print(f'{fault}: {recovery_s[fault][-1]:.1f} s', file=sys.stderr)
        fault = 'the end'
        robot.end()
    except AssertionError as error:
        text = str(error)
        if not robot.is_alive:
            process = robot.process
            text = f'the node ended with code {process.process.returncode}: {process.log[-2000:]}'
        robot.watch.findings.append(f'{fault}: {text}')
    return recovery_s


if __name__ == '__main__':
    sys.exit(main())
