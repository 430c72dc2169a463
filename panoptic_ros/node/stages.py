# SPDX-License-Identifier: Apache-2.0
"""Stages of an image on its way from a message to published results."""

from collections import defaultdict
from collections.abc import Mapping
from enum import Enum


class Stage(Enum):
    """One row per stage: its key in files and tables, and the label of its time in diagnostics.

    The order is that in which an image passes them. Diagnostics show one time per label, the sum
    of the stages that share it.
    """

    READ = 'read', 'pre-process'
    """From the message to an image."""

    PRE = 'pre', 'pre-process'
    """Scaling into the network's input."""

    INFER = 'infer', 'infer'
    """Network and decoding."""

    POST = 'post', 'post-process'
    """From the outputs to a frame, and removal of the classes that are not wanted."""

    TRACK = 'track', 'track'

    METRES = 'metres', 'metres'
    """Depth or lidar, the positions of segments, and the velocities of tracks."""

    POINTS = 'points', 'points'
    """Making of the organised cloud."""

    CLOUD = 'cloud', 'cloud'
    """Labelling of the lidar's cloud."""

    MARKERS = 'markers', 'markers'
    """Making of markers and 3-D detections."""

    MESSAGES = 'messages', 'publish'
    """Making of messages, where it is timed apart from publishing."""

    PUBLISH = 'publish', 'publish'

    RECEIVE = 'receive', 'publish'
    """From there until another process has all messages, where that is measured."""

    TOTAL = 'total', 'end to end'
    """From the image's arrival to its last message; where nothing waits, the sum of the others."""

    def __init__(self, key: str, label: str) -> None:
        self.key = key
        self.label = label


LABELS = tuple(dict.fromkeys(stage.label for stage in Stage))
"""Labels in the order in which diagnostics show them."""


def sum_by_label(times: Mapping[Stage, float]) -> dict[str, float]:
    """Return the time of each label in the unit of `times`."""
    sums: dict[str, float] = defaultdict(float)
    for stage, value in times.items():
        sums[stage.label] += value
    return dict(sums)
