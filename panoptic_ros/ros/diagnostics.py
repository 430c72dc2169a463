# SPDX-License-Identifier: Apache-2.0
"""Publisher of the node's diagnostics, once a second and independent of the executor."""

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import ROSClock
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from panoptic_ros.node.camera_settings import status_suffix
from panoptic_ros.node.counts import CountsHistory
from panoptic_ros.node.diagnostics import (
    STALE_ERROR_S,
    Status,
    age_problem,
    all_lost,
    clock_problem,
    diagnostic_array,
    input_status,
    memory_status,
    model_status,
    stamp_problem,
    timing_status,
    tracking_status,
    transport_problem,
)
from panoptic_ros.node.heartbeat import Heartbeat
from panoptic_ros.node.model_loading import LoadedModel
from panoptic_ros.ros.camera import CameraSubscription
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.tracking.clock import BACK

PERIOD_S = 1.0


class NodeState(NamedTuple):
    """State of the node at one moment, as far as diagnostics need it."""

    state: str
    problem: str
    loading_s: float | None
    building: float | None
    """Part of an engine that is built, 0 to 1; None while none is being built."""
    loaded: LoadedModel | None
    changed: Sequence[str]
    """Parameters that have changed since the model was loaded."""
    cameras: Sequence[CameraSubscription]
    enabled: bool
    listening_since_s: float
    """Time of the last subscription by time.monotonic()."""


class Diagnostics:
    """Publisher of /diagnostics with its own thread and a steady clock.

    Diagnostics are therefore also published while a model loads, and with use_sim_time while
    nobody publishes /clock.
    """

    def __init__(self, node: Node, read_state: Callable[[], NodeState]) -> None:
        """Start publishing.

        Args:
            node: owner of the publisher.
            read_state: returns the node's state; called in another thread.
        """
        self._node, self._read_state = node, read_state
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 5)
        self._middleware = get_rmw_implementation_identifier()
        self._history: dict[str, CountsHistory] = {}
        self._clock = _ClockWatch()
        self._heartbeat = Heartbeat(self._publish, PERIOD_S, 'diagnostics')

    def stop(self, timeout_s: float) -> bool:
        """End the thread; return False if it is still busy after the timeout."""
        return self._heartbeat.stop(timeout_s)

    def _publish(self) -> None:
        clock = cast(ROSClock, self._node.get_clock())
        stamp, now = clock.now(), self._read_state()
        backend = now.loaded.predictor.backend if now.loaded else None
        self._clock.update(stamp.nanoseconds * 1e-9, clock.ros_time_is_active)
        statuses = [
            model_status(
                now.state,
                now.problem,
                now.loaded.describe() if now.loaded else {},
                backend.fallback_reason if backend else '',
                now.loading_s,
                now.building,
                now.changed,
            )
        ]
        for camera in now.cameras:
            statuses += self._camera_statuses(camera, now)
        device = backend.device if backend else ''
        statuses.append(memory_status(device, sum(c.out_of_memory for c in now.cameras)))
        self._publisher.publish(
            diagnostic_array(
                RosTypes(), statuses, self._node.get_fully_qualified_name(), device, stamp.to_msg()
            )
        )

    def _camera_statuses(self, camera: CameraSubscription, now: NodeState) -> list[Status]:
        counts, settings, time_s = camera.counts, camera.settings, self._clock.time_s
        max_rate_hz = settings['max_rate_hz']
        # A working camera has published an image within this time.
        period_s = max(STALE_ERROR_S, 2 / max_rate_hz if max_rate_hz else 0.0)
        history = self._history.setdefault(camera.name, CountsHistory())
        before, arriving = history.before(counts, time.monotonic(), period_s)
        active = now.state == 'active' and now.enabled
        idle = active and camera.standby.is_idle
        newest_s, stamp = camera.newest_stamp_s, camera.step.clock.problem
        age_s = time_s - newest_s if newest_s and time_s else None
        # A camera that has stopped is silent; its stamps do not become wrong with time.
        heard_s = camera.arrivals.last_s
        age_at_arrival_s = heard_s - newest_s if newest_s and heard_s else None
        published_s = camera.publications.last_s
        statuses = [
            input_status(
                camera.name,
                counts,
                camera.arrivals.rate_hz(time_s) if time_s else None,
                age_s,
                self._silent_s(camera, now.listening_since_s) if active else None,
                camera.input.topics,
                camera.last_bad,
                enabled=now.enabled,
                idle=idle,
                all_lost=all_lost(
                    before,
                    counts,
                    arriving,
                    settings['max_age_ms'],
                    camera.last_bad,
                    camera.last_failure,
                ),
                time_problem=(
                    stamp_problem('' if stamp == BACK else stamp)
                    or age_problem(age_at_arrival_s, self._clock.is_simulated)
                ),
                clock_problem=self._clock.problem,
                warnings=[
                    stamp if stamp == BACK else '',
                    transport_problem(os.environ, self._middleware, camera.raw_bytes),
                ],
            ),
            timing_status(
                camera.timings,
                camera.publications.rate_hz(time_s) if time_s else None,
                settings,
                active and not idle,
                not time_s or time_s - published_s <= STALE_ERROR_S,
            ),
            tracking_status(camera.tracks if active and not idle else None),
        ]
        for status in statuses[1:]:
            status.name += status_suffix(camera.name, [one.name for one in now.cameras])
        statuses += [
            side.status(
                camera.name, camera.side_inputs.topics(side.name) if active else '', time_s, active
            )
            for side in (camera.metres.depth, camera.metres.cloud)
        ]
        return statuses

    def _silent_s(self, camera: CameraSubscription, listening_since_s: float) -> float:
        """Return the time without an image, by /clock if that is slower, as with a paused bag."""
        steady_s = time.monotonic() - max(listening_since_s, camera.arrived_s)
        heard_s = camera.arrivals.last_s
        if self._clock.problem or not heard_s or camera.arrived_s < listening_since_s:
            return steady_s
        return min(steady_s, max(0.0, self._clock.time_s - heard_s))


class _ClockWatch:
    """Detector of a clock that does not advance."""

    def __init__(self) -> None:
        self.time_s, self.is_simulated, self.problem = 0.0, False, ''
        self._changed_s = time.monotonic()

    def update(self, time_s: float, is_simulated: bool) -> None:
        """Compare the time of the node's clock with the last one."""
        if time_s != self.time_s:
            self._changed_s = time.monotonic()
        self.time_s, self.is_simulated = time_s, is_simulated
        self.problem = clock_problem(is_simulated, time_s, time.monotonic() - self._changed_s)
