# SPDX-License-Identifier: Apache-2.0
"""Configuration of a replay: recording, cameras, parameters and the part that is replayed."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.camera_settings import topic_prefix
from panoptic_ros.node.topics import INFO_INPUT
from panoptic_ros.recordings.beside import Beside
from panoptic_ros.recordings.recording import Record, Recording
from panoptic_ros.recordings.storage import END_NS
from panoptic_ros.replay.ground_truth import GroundTruth
from panoptic_ros.tracking import StampClock

DEFAULT_RATE_HZ = 10.0
"""Rate of the overlay video of a camera with fewer than two images."""

RATE_IMAGES = 50
"""Number of images from whose times the rate of a camera is estimated."""

Progress = Callable[[Iterator[Any]], Iterator[Any]]
"""Wraps an iterator to show progress."""


@dataclass(frozen=True)
class ReplayConfig:
    """Recording, cameras and parameters of a replay, and the part that is replayed."""

    recording: Recording
    cameras: Mapping[str, str]
    """Topic by camera."""

    settings: Mapping[str, Any]
    """Values of the node's parameters."""

    ground_truths: Mapping[str, GroundTruth] = field(default_factory=dict)
    """Ground truth by camera."""

    beside: Mapping[str, Beside] = field(default_factory=dict)
    """Depth and camera_info by camera, of the cameras that have depth."""

    start_s: float = 0.0
    """Start of the part that is replayed, seconds from the start of the recording."""

    duration_s: float | None = None
    """Length of that part; None replays to the end."""

    stride: int = 1
    """Every stride-th image of each camera is replayed."""

    named_topics: Collection[str] = ()
    """Topics that the user named; each must have a usable image."""

    @property
    def window_ns(self) -> tuple[int, int]:
        """Start and end of the part that is replayed, in times of recording."""
        start = _later(self.recording.start_ns, self.start_s)
        return start, END_NS if self.duration_s is None else _later(start, self.duration_s)

    @property
    def is_complete(self) -> bool:
        """Whether the recording is replayed from its start to its end."""
        return not self.start_s and self.duration_s is None

    def images(self) -> Iterator[tuple[str, Record]]:
        """Yield camera and message of each image to replay."""
        camera_of = {topic: camera for camera, topic in self.cameras.items()}
        counts = dict.fromkeys(self.cameras, 0)
        for record in self.recording.records(list(camera_of), *self.window_ns):
            camera = camera_of[record.topic]
            if counts[camera] % self.stride == 0:
                yield camera, record
            counts[camera] += 1

    def depth_topic(self, camera: str) -> str:
        """Return a camera's topic of depth; empty if it has none."""
        topics = self.beside[camera].topics if camera in self.beside else {}
        return next((topic for name, topic in topics.items() if name != INFO_INPUT), '')

    def topic_prefix(self, camera: str) -> str:
        """Return the prefix of a camera's topics: its name, if there are several cameras."""
        return topic_prefix(camera, self.cameras)

    def file_suffix(self, camera: str) -> str:
        """Return the suffix of the names of a camera's files, empty for a single camera."""
        return '_' + re.sub(r'\W+', '_', camera) if len(self.cameras) > 1 else ''

    def rate_hz(self, camera: str) -> float:
        """Return the rate of a camera's replayed images, 0.5 to 240, from the first of them."""
        clock, times_s = StampClock(), []
        for record in self.recording.records([self.cameras[camera]], *self.window_ns):
            if record.message is not None:
                stamp_s = header_stamp_ns(record.message) / 1e9
                times_s.append(clock.time_of(stamp_s, record.time_ns / 1e9))
            if len(times_s) == RATE_IMAGES:
                break
        steps_s = [b - a for a, b in pairwise(times_s) if b > a]
        recorded_hz = round(1 / median(steps_s), 3) if steps_s else DEFAULT_RATE_HZ
        return max(0.5, min(recorded_hz / self.stride, 240.0))


def _later(time_ns: int, seconds: float) -> int:
    return min(time_ns + round(min(seconds, END_NS / 1e9) * 1e9), END_NS)
