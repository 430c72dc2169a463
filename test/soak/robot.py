# SPDX-License-Identifier: Apache-2.0
"""The node and its camera drivers as processes, and the client that provokes faults."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from node_process import OUTPUTS, OUTPUTS_IN_METRES, TIMEOUT_S, Graph, NodeProcess
from sensor_msgs.msg import PointCloud2
from tiny_model import ANIMALS, make_tiny_model

from soak.watch import Watch

CAMERAS = ('front', 'rear')

KINDS = OUTPUTS | OUTPUTS_IN_METRES

END_S = 5.0
"""Longest time in which the node ends after SIGTERM, seconds."""


class Robot(Graph):
    """Client of a running node with cameras that have depth."""

    def __init__(self, domain: int, folder: Path) -> None:
        """Start all processes.

        Args:
            domain: ROS domain.
            folder: for model files and the node's log.
        """
        super().__init__(domain)
        self.models = {
            'tiny': make_tiny_model(folder / 'tiny.onnx'),
            'animals': make_tiny_model(
                folder / 'animals.onnx', (32, 64), 2, labels=ANIMALS, embedding_dim=7
            ),
            'batch': make_tiny_model(folder / 'batch.onnx', batch=2),
        }
        self.damaged = folder / 'damaged.onnx'
        self.damaged.write_bytes(self.models['tiny'].read_bytes()[:-500])
        self.process = NodeProcess(
            folder / 'log',
            {
                'model': self.models['tiny'],
                'cameras': f'[{", ".join(CAMERAS)}]',
                'points.stride': 2,
            },
        )
        self.watch = Watch(self.process.process.pid)
        self.drivers = {name: _start_driver(name) for name in CAMERAS}
        self.newest_ns = dict.fromkeys(CAMERAS, 0)
        """Stamp of the newest driver's image that has a result, by camera."""
        self._publishers: dict[str, Any] = {}
        self._results: list[Any] = []
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._take, 10)
        self.watch_results()

    @contextmanager
    def running(self) -> Iterator['Robot']:
        """End all processes at the end."""
        try:
            yield self
        finally:
            for name in CAMERAS:
                self.stop_driver(name, signal.SIGKILL)
            self.process.process.kill()
            self.process.process.wait()
            self.close()

    def end(self) -> None:
        """End the drivers and then the node, which must end in time and without an error."""
        for name in CAMERAS:
            self.stop_driver(name, signal.SIGINT)
        self.until(
            lambda: (self.spin(0.5), all(not self.watch.last(n, 'in flight') for n in CAMERAS))[1]
        )
        start_s = time.monotonic()
        code, log = self.process.end(signal.SIGTERM), self.process.log
        if code or time.monotonic() - start_s > END_S:
            self.watch.findings.append(
                f'the node ended with exit code {code} after {time.monotonic() - start_s:.1f} s'
            )
        if 'Traceback' in log:
            self.watch.findings.append(f'an exception: {log[log.index("Traceback") :][:3000]}')

    @property
    def is_alive(self) -> bool:
        """Whether the node's process runs."""
        return self.process.process.poll() is None

    def until(self, condition: Any, timeout_s: float = TIMEOUT_S) -> Any:
        """See `Graph.until`; raises an AssertionError at once if the node has ended."""

        def is_true() -> Any:
            assert self.is_alive, 'the node has ended'
            return condition()

        return super().until(is_true, timeout_s)

    # Subscriptions

    def watch_results(self) -> None:
        """Subscribe to results of each camera."""
        for name in CAMERAS:
            self._results.append(
                self.node.create_subscription(
                    PointCloud2,
                    f'{name}/panoptic/instances',
                    lambda message, name=name: self._note(name, message),
                    10,
                )
            )
            self._results.append(self.listen(name, 'points'))

    def ignore_results(self) -> None:
        """Unsubscribe from all results."""
        while self._results:
            self.node.destroy_subscription(self._results.pop())

    def listen(self, camera: str, output: str, qos: Any = 10) -> Any:
        """Subscribe to an output without reading it."""
        topic = f'{camera}/panoptic/{output}'
        return self.node.create_subscription(KINDS[output], topic, lambda message: None, qos)

    def wait_for_results(self, limit_s: float) -> float:
        """Wait until all cameras have results of images from now on; return the time it took.

        Raises:
            AssertionError: if that takes longer than `limit_s`.
        """
        start_s, now_ns = time.monotonic(), time.time_ns()
        try:
            self.until(lambda: all(ns > now_ns for ns in self.newest_ns.values()), limit_s)
        except AssertionError:
            late = [name for name, stamp in self.newest_ns.items() if stamp <= now_ns]
            said = {
                status.name: status.message
                for status in (self.diagnostics[-1].status if self.diagnostics else ())
                if status.level != b'\0'
            }
            raise AssertionError(
                f'no result of {late} for {limit_s:g} s; the node reports {said}'
            ) from None
        return time.monotonic() - start_s

    def _note(self, camera: str, message: PointCloud2) -> None:
        header = message.header
        if header.frame_id == camera:  # of the driver, not of a fault
            self.newest_ns[camera] = header.stamp.sec * 10**9 + header.stamp.nanosec

    def _take(self, message: DiagnosticArray) -> None:
        self.watch.take(message)
        del self.diagnostics[:-5]

    # Inputs

    def publish(self, topic: str, message: Any, now: bool = True) -> None:
        """Publish a message beside the drivers, by default stamped now."""
        if now:
            message.header.stamp = self.node.get_clock().now().to_msg()
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, 10)
            self.spin(0.5)  # for the discovery
        self._publishers[topic].publish(message)
        self.spin(0.02)

    def stop_driver(self, name: str, number: int) -> None:
        """End a driver by a signal."""
        driver = self.drivers[name]
        driver.send_signal(signal.SIGCONT)
        driver.send_signal(number)
        driver.wait(20)

    def start_driver(self, name: str) -> None:
        """Start a driver that has ended."""
        self.drivers[name] = _start_driver(name)

    # Changes

    def transit(self, *transitions: str) -> None:
        """Request transitions, which must succeed."""
        for transition in transitions:
            assert self.change_state(transition), f'{transition} failed: {self.process.log[-500:]}'

    def change(self, name: str, value: Any) -> None:
        """Set a parameter to a value that must be accepted."""
        reason = self.set_parameter(name, value)
        assert not reason, f'{name}={value!r} is refused: {reason}'


def _start_driver(name: str) -> subprocess.Popen[bytes]:
    """Start a driver that ends with this process."""
    command = [sys.executable, '-m', 'panoptic_ros.ros.child', str(os.getpid()), 'soak.camera']
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen([*command, name], env=os.environ | {'PYTHONPATH': tests})
