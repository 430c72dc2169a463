# SPDX-License-Identifier: Apache-2.0
"""Trial of the middleware: do images arrive from one process in another?"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from panoptic_ros.doctor.findings import Facts, Finding, note
from panoptic_ros.doctor.probes import Probe, python_module
from panoptic_ros.ros.processes import ros_environment

TRIAL_S = 8.0
"""Longest time of the trial, seconds; the two processes need about 4 s even on a busy machine."""

WORKS, FAILED, LEFT_OUT = 'done', 'failed', 'not tried'
"""States of the trial."""

REACH = ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_STATIC_PEERS')
"""Variables that the trial sets itself, so that the robot's processes do not see it."""


def image_facts(ros: Facts, end_s: float, environ: Mapping[str, str] = os.environ) -> Facts:
    """Send full HD images between two processes with the settings of the launch file.

    Args:
        ros: see `panoptic_ros.doctor.ros.ros_facts`.
        end_s: time on the monotonic clock at which the trial ends at the latest, seconds.
        environ: environment of the process.
    """
    facts: Facts = {
        'state': LEFT_OUT,
        'reason': '',
        'sent': None,
        'received': None,
        'p50_ms': None,
    }
    if not ros['middleware']:
        return facts | {'reason': 'rclpy cannot be used'}
    kept = {name: value for name, value in environ.items() if name not in REACH}
    variables = kept | ros_environment(kept)
    timeout_s = max(0.0, min(TRIAL_S, end_s - time.monotonic()))
    module = 'panoptic_ros.ros.image_trip'
    with ExitStack() as stack:
        probes = []
        for half in ('receive', 'send'):
            probes.append(Probe(python_module(module, half), timeout_s, variables))
            stack.callback(probes[-1].kill)
        results = [probe.result for probe in probes]
    for ended in results:
        documents = ended.documents
        if not documents:
            return facts | {'state': FAILED, 'reason': ended.reason}
        facts |= documents[0]
    return facts | {'state': WORKS}


def image_findings(facts: Facts, middleware: str | None) -> Iterator[Finding]:
    """Yield a finding if images get lost.

    Args:
        facts: see `image_facts`.
        middleware: name of the implementation.
    """
    if facts['state'] == FAILED:
        yield note(
            f'sending images between two processes could not be tried: {facts["reason"]}',
            'repeat this on a quiet machine',
        )
    elif facts['state'] == WORKS and not facts['sent']:
        yield Finding(
            'two ROS processes of this machine did not find each other',
            'start the router: ros2 run rmw_zenoh_cpp rmw_zenohd'
            if 'zenoh' in (middleware or '')
            else 'allow UDP multicast: sudo ip link set lo multicast on, and check the firewall',
        )
    elif facts['state'] == WORKS and facts['received'] < facts['sent']:
        yield Finding(
            f'only {facts["received"]} of {facts["sent"]} full HD images arrived in another '
            'process (best effort, settings of the launch file)',
            'remedy what this page says about the profile and shared memory; repeat this on a '
            'quiet machine',
            is_problem=facts['received'] < facts['sent'] / 2,
        )
