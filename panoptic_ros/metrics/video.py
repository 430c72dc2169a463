# SPDX-License-Identifier: Apache-2.0
"""All video metrics in one pass over the frames: VPQ, STQ, HOTA, MOTA, IDF1 and id switches."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.base import require_same_labels
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.stq import SegmentationTrackingQuality
from panoptic_ros.metrics.tracks import IdSwitch, TrackQuality
from panoptic_ros.metrics.video_panoptic import VideoPanopticQuality

COLUMNS = {
    'STQ': 'stq',
    'AQ': 'aq',
    'SQ': 'sq',
    'VPQ': 'vpq',
    'VPQ1': 'vpq_1',
    'VPQ2': 'vpq_2',
    'VPQ3': 'vpq_3',
    'VPQ4': 'vpq_4',
    'HOTA': 'hota',
    'DetA': 'deta',
    'AssA': 'assa',
    'MOTA': 'mota',
    'IDF1': 'idf1',
    'IDSW': 'id_switches',
}
"""Columns of the printed table: heading and name of the score."""

NamedScores = dict[str, Any]
"""Scores by name in percent, and the number `id_switches`; NaN if nothing counts."""


@dataclass(frozen=True)
class VideoResult:
    """Scores of a number of clips."""

    labels: LabelSet
    frames: int
    clips: int

    all: NamedScores
    """Scores over all classes; tracking metrics count things only."""

    things: NamedScores
    stuff: NamedScores

    per_class: tuple[NamedScores, ...]
    """Scores by class id."""

    switches: tuple[IdSwitch, ...]
    """All id switches, in the order of clips and frames."""

    def summary(self) -> NamedScores:
        """Return the scores over all classes: `stq`, `vpq`, `hota`, `id_switches`, ..."""
        return dict(self.all)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, percent; None stands for NaN."""
        return {
            'frames': self.frames,
            'clips': self.clips,
            **{name: _plain(getattr(self, name)) for name in ('all', 'things', 'stuff')},
            'per_class': [
                {
                    'name': label.name,
                    'category_id': label.category_id,
                    'is_thing': label.is_thing,
                    **_plain(scores),
                }
                for label, scores in zip(self.labels.labels, self.per_class, strict=True)
            ],
            'switches': [switch.to_dict() for switch in self.switches],
        }

    def format_table(self) -> str:
        """Return the table All, Things, Stuff; percent."""
        return _table(('All', 'Things', 'Stuff'), (self.all, self.things, self.stuff))

    def format_classes(self) -> str:
        """Return the table of the classes that occur."""
        present = [
            i
            for i, scores in enumerate(self.per_class)
            if not (math.isnan(scores['sq']) and math.isnan(scores['vpq']))
        ]
        names = [self.labels.names[i] for i in present]
        return _table(names, [self.per_class[i] for i in present])


class VideoScores:
    """Video metrics over clips, whose frames are added in the order of time.

    No pixels are kept of a frame, only how many its segments share, as far as the tracks of the
    open clip need it. Instances that collected different clips can be merged.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.frames = 0
        self.stq = SegmentationTrackingQuality(labels)
        self.vpq = VideoPanopticQuality(labels)
        self.tracks = TrackQuality(labels)

    def update(self, frame: Overlaps) -> None:
        """Add the clip's next frame, as `measure_frame` counts it."""
        for metric in (self.stq, self.vpq, self.tracks):
            metric.update(frame)
        self.frames += 1

    @property
    def clip_is_open(self) -> bool:
        """Whether the clip of the last frame has not been ended."""
        return bool(self.tracks.frames)

    def end_clip(self) -> None:
        """Close the open clip, if any, so that no tube or track continues in the next frame."""
        if self.clip_is_open:
            for metric in (self.stq, self.vpq, self.tracks):
                metric.end_clip()

    def merge(self, other: 'VideoScores') -> None:
        """Add the clips of another instance.

        Raises:
            ValueError: if its label set differs, or a clip is open in either of the two.
        """
        require_same_labels(self.labels, other.labels)
        if self.clip_is_open or other.clip_is_open:
            raise ValueError('only closed clips can be merged: call end_clip() of both first')
        self.stq.merge(other.stq)
        self.vpq.merge(other.vpq)
        self.tracks.merge(other.tracks)
        self.frames += other.frames

    def compute(self) -> VideoResult:
        """Return the scores of all frames so far, those of an open clip included."""
        if self.clip_is_open:
            closed = copy.deepcopy(self)
            closed.end_clip()
            return closed.compute()
        is_thing = self.labels.is_thing
        groups = [
            np.ones(len(is_thing), bool),
            is_thing,
            ~is_thing,
            *np.eye(len(is_thing), dtype=bool),
        ]
        over_all, things, stuff, *per_class = (
            {**self.stq.compute(among), **self.vpq.compute(among), **self.tracks.compute(among)}
            for among in groups
        )
        return VideoResult(
            self.labels,
            self.frames,
            self.tracks.clips,
            over_all,
            things,
            stuff,
            tuple(per_class),
            tuple(self.tracks.switches),
        )


def _plain(scores: NamedScores) -> NamedScores:
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def _table(names: Sequence[str], rows: Sequence[NamedScores]) -> str:
    """Return a table with one line per name; `-` stands for NaN."""
    width = max(10, *map(len, names)) if names else 10
    lines = [
        f'{"":{width}s}|' + ''.join(f' {head:>5s}' for head in COLUMNS),
        '-' * (width + 1 + 6 * len(COLUMNS)),
    ]
    for name, row in zip(names, rows, strict=True):
        cells = [
            '-' if math.isnan(value) else str(value) if isinstance(value, int) else f'{value:.1f}'
            for value in (row[key] for key in COLUMNS.values())
        ]
        lines.append(f'{name:{width}s}|' + ''.join(f' {cell:>5s}' for cell in cells))
    return '\n'.join(lines)
