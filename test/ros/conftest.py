# SPDX-License-Identifier: Apache-2.0
"""Fixtures for real ROS 2 processes in their own domain."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from panoptic_ros.ros.processes import ros_environment

if TYPE_CHECKING:
    from node_process import Graph, NodeProcess


@pytest.fixture(scope='session')
def ros_domain() -> int:
    """Return a free domain per test process, on this machine only, with the profile for images.

    What the caller has set for ROS is replaced: no test may reach a node that runs here.
    """
    pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
    kept = {name: value for name, value in os.environ.items() if name == 'ROS_DISTRO'}
    os.environ.update(ros_environment(kept))
    return int(os.environ['ROS_DOMAIN_ID'])


@pytest.fixture(scope='module')
def graph(ros_domain: int) -> Iterator[Graph]:
    """Client node of the test, which publishes, subscribes and calls services."""
    from node_process import Graph

    graph = Graph(ros_domain)
    yield graph
    graph.close()


@pytest.fixture
def start(tmp_path: Path, ros_domain: int) -> Iterator[Callable[..., NodeProcess]]:
    """Return a function that starts a `NodeProcess`, which ends with the test."""
    from node_process import NodeProcess

    nodes = []

    def start_one(*arguments: Any, **keywords: Any) -> NodeProcess:
        nodes.append(NodeProcess(tmp_path / 'log', *arguments, **keywords))
        return nodes[-1]

    yield start_one
    # A node that is killed stays in the graph for seconds and takes the next test's requests.
    for node in nodes:
        node.process.send_signal(signal.SIGTERM)
    for node in nodes:
        with suppress(subprocess.TimeoutExpired):
            node.process.wait(10)
        node.process.kill()
