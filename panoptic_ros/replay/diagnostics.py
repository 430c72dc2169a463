# SPDX-License-Identifier: Apache-2.0
"""What the node would have said on /diagnostics, as far as it is the same in every run.

Once in each second of the recording; times and memory, which differ from run to run, are left to
summary.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from panoptic_ros.node.counts import Drop, ImageCounter
from panoptic_ros.node.diagnostics import (
    Level,
    Status,
    input_status,
    model_status,
    tracking_status,
)
from panoptic_ros.node.image_step import DroppedImage, ProcessedImage
from panoptic_ros.node.loading import Loaded
from panoptic_ros.node.meters import RateMeter
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.tracking import TrackerStats
from panoptic_ros.tracking.clock import BACK

PERIOD_NS = 10**9


class Health:
    """Counts the images of all cameras."""

    def __init__(self, loaded: Loaded, topics: Mapping[str, str]) -> None:
        """Begins at nought.

        Args:
            loaded: the model.
            topics: by camera.
        """
        self._loaded, self._topics = loaded, topics
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
        """Counts an image.

        Args:
            record: of the image.
            result: of its processing.
            stats: of its camera's tracker after it; None without one.
        """
        name, dropped = record.camera, result if isinstance(result, DroppedImage) else None
        self._counters[name].add(dropped.reason if dropped else None)
        self._arrivals[name].add(record.recorded_ns / 1e9)
        self._newest[name] = record
        self._stats[name] = stats
        self._last_bad[name] = dropped.text if dropped and dropped.reason is Drop.BAD_IMAGE else ''

    def is_due(self, now_ns: int) -> bool:
        """Whether a second of the recording is over; then the next one begins."""
        if self._due_ns is None or now_ns >= self._due_ns:
            self._due_ns = now_ns + PERIOD_NS
            return True
        return False

    def statuses(self, now_ns: int) -> list[Status]:
        """One for each task."""
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
            tracking = tracking_status(self._stats[name])
            tracking.name += f'/{name}' if len(self._topics) > 1 else ''
            statuses.append(tracking)
        return statuses

    @property
    def device(self) -> Any:
        """What runs the model."""
        return self._loaded.predictor.backend.device
