# SPDX-License-Identifier: Apache-2.0
"""The node's diagnostics of a replay, once per second of the recording.

Only values that are the same in every run: times and memory are left out. Times are in
summary.json.
"""

from collections.abc import Mapping
from typing import Any

from panoptic_ros.node.camera_settings import status_suffix
from panoptic_ros.node.counts import Drop, ImageCounter
from panoptic_ros.node.diagnostics import (
    Level,
    Status,
    input_status,
    model_status,
    tracking_status,
)
from panoptic_ros.node.image_step import DroppedImage, ProcessedImage
from panoptic_ros.node.meters import RateMeter
from panoptic_ros.node.model_loading import LoadedModel
from panoptic_ros.recordings.beside import RESULT_NS
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.metres import ReplayMetres
from panoptic_ros.tracking import TrackerStats
from panoptic_ros.tracking.clock import BACK

PERIOD_NS = 10**9
"""Time between two messages of diagnostics, by the clock of the recording."""


class ReplayDiagnostics:
    """Diagnostics of model, input and tracking of all cameras."""

    def __init__(
        self, loaded: LoadedModel, topics: Mapping[str, str], metres: Mapping[str, ReplayMetres]
    ) -> None:
        """Initialise the counters.

        Args:
            loaded: the model.
            topics: topic by camera.
            metres: by camera, of those with depth.
        """
        self._loaded, self._topics, self._metres = loaded, topics, metres
        self._arrivals = {name: RateMeter() for name in topics}
        self._counters = {name: ImageCounter() for name in topics}
        self._stats: dict[str, TrackerStats | None] = dict.fromkeys(topics)
        self._newest: dict[str, FrameRecord] = {}
        self._last_bad = dict.fromkeys(topics, '')
        self._due_ns: int | None = None

    def add(
        self,
        record: FrameRecord,
        result: ProcessedImage | DroppedImage,
        stats: TrackerStats | None,
    ) -> None:
        """Count an image.

        Args:
            record: of the image.
            result: of its processing.
            stats: statistics of the camera's tracker after the image; None without a tracker.
        """
        name, dropped = record.camera, result if isinstance(result, DroppedImage) else None
        self._counters[name].add(dropped.reason if dropped else None)
        self._arrivals[name].add(record.recorded_ns / 1e9)
        self._newest[name] = record
        self._stats[name] = stats
        self._last_bad[name] = dropped.text if dropped and dropped.reason is Drop.BAD_IMAGE else ''

    def is_due(self, now_ns: int) -> bool:
        """Return whether diagnostics are due; if so, they are next due a second later."""
        if self._due_ns is None or now_ns >= self._due_ns:
            self._due_ns = now_ns + PERIOD_NS
            return True
        return False

    def statuses(self, now_ns: int) -> list[Status]:
        """Return the statuses of all tasks."""
        backend = self._loaded.predictor.backend
        statuses = [model_status('active', '', self._loaded.describe(), backend.fallback_reason)]
        for name, topic in self._topics.items():
            newest = self._newest.get(name)
            age_s = (now_ns - newest.stamp_ns) / 1e9 if newest and newest.stamp_ns else None
            silent_s = (now_ns - newest.recorded_ns) / 1e9 if newest else 0.0
            status = input_status(
                name,
                self._counters[name].counts(),
                self._arrivals[name].rate_hz(now_ns / 1e9),
                age_s,
                silent_s,
                topic,
                self._last_bad[name],
            )
            if newest and newest.stamp_problem:
                status.report(
                    Level.WARN if newest.stamp_problem == BACK else Level.ERROR,
                    newest.stamp_problem,
                )
            statuses.append(status)
            if name in self._metres:
                metres, result_s = self._metres[name], (now_ns + RESULT_NS) / 1e9
                statuses.append(metres.depth.status(name, metres.topic, result_s, True))
            tracking = tracking_status(self._stats[name])
            tracking.name += status_suffix(name, self._topics)
            statuses.append(tracking)
        return statuses

    @property
    def device(self) -> Any:
        """Device that runs the model."""
        return self._loaded.predictor.backend.device
