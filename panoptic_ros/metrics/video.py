# SPDX-License-Identifier: Apache-2.0
"""All video metrics in one pass: VPQ, STQ, HOTA, MOTA, IDF1 and id switches."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.image_pair import Overlaps
from panoptic_ros.metrics.overlap import Ints
from panoptic_ros.metrics.stq import SegmentationTrackingQuality
from panoptic_ros.metrics.tracks import IdSwitch, TrackQuality
from panoptic_ros.metrics.video_frame import measure_frame
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
"""Heads of the printed table."""

Scores = dict[str, Any]
"""Percent by name, and the number `id_switches`; NaN where nothing counts."""


@dataclass(frozen=True)
class VideoResult:
    """What `VideoScores.result` returns."""

    labels: LabelSet
    frames: int
    clips: int

    all: Scores
    """Over all classes; tracking is about things alone."""

    things: Scores
    stuff: Scores

    per_class: tuple[Scores, ...]
    """By class id."""

    switches: tuple[IdSwitch, ...]
    """Every id switch, in order of clips and frames."""

    def summary(self) -> Scores:
        """Scores over all classes by name: `stq`, `vpq`, `vpq_k0`, `hota`, `id_switches`, ..."""
        return dict(self.all)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, percent; None stands for NaN."""
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
        """All, Things, Stuff; percent."""
        return _table(('All', 'Things', 'Stuff'), (self.all, self.things, self.stuff))

    def format_classes(self) -> str:
        """The same for each class that occurs."""
        there = [
            i
            for i, scores in enumerate(self.per_class)
            if not (math.isnan(scores['sq']) and math.isnan(scores['vpq']))
        ]
        return _table([self.labels.names[i] for i in there], [self.per_class[i] for i in there])


class VideoScores:
    """Collects frames in the order of time; instances that saw different clips can be merged.

    What is kept of a frame is how many pixels its segments share, and of that no more than the
    tracks of the open clip need.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.frames = 0
        self.stq = SegmentationTrackingQuality(labels)
        self.vpq = VideoPanopticQuality(labels)
        self.tracks = TrackQuality(labels)

    def update(
        self, gt_class_map: Ints, gt_track_map: Ints, pred_class_map: Ints, pred_track_map: Ints
    ) -> None:
        """Adds the clip's next frame.

        A track is a class and an id: ids of different classes may be the same.

        Args:
            gt_class_map: (H, W) class id, VOID_ID = void.
            gt_track_map: (H, W) track id; 0 on a thing marks a crowd, which need not be found.
                Ignored on stuff.
            pred_class_map: (H, W) class id, VOID_ID = void.
            pred_track_map: (H, W) track id; things of a class with track 0 are taken as one.

        Raises:
            ValueError: if the maps differ in size or hold an id that is no class or no track id;
                nothing is added then.
        """
        self.add(
            measure_frame(gt_class_map, gt_track_map, pred_class_map, pred_track_map, self.labels)
        )

    def add(self, frame: Overlaps) -> None:
        """Adds the clip's next frame, measured elsewhere by `measure_frame`."""
        for metric in (self.stq, self.vpq, self.tracks):
            metric.add(frame)
        self.frames += 1

    @property
    def clip_is_open(self) -> bool:
        """True between a frame and the end of its clip."""
        return bool(self.tracks.frames)

    def end_clip(self) -> None:
        """Closes the clip, if one is open: no tube or track goes on into the next frame."""
        if self.clip_is_open:
            for metric in (self.stq, self.vpq, self.tracks):
                metric.end_clip()

    def merge(self, other: VideoScores) -> None:
        """Adds the clips that another instance has seen.

        Raises:
            ValueError: if its label set is another one, or a clip is open in one of the two.
        """
        if other.labels != self.labels:
            raise ValueError('only metrics of the same label set can be merged')
        if self.clip_is_open or other.clip_is_open:
            raise ValueError('only closed clips can be merged: call end_clip() of both first')
        self.stq.merge(other.stq)
        self.vpq.merge(other.vpq)
        self.tracks.merge(other.tracks)
        self.frames += other.frames

    def result(self) -> VideoResult:
        """Scores of all frames so far; a clip that is open counts as far as it goes."""
        if self.clip_is_open:
            closed = copy.deepcopy(self)
            closed.end_clip()
            return closed.result()
        is_thing = self.labels.is_thing
        groups = [
            np.ones(len(is_thing), bool),
            is_thing,
            ~is_thing,
            *np.eye(len(is_thing), dtype=bool),
        ]
        over_all, things, stuff, *per_class = (
            {**self.stq.scores(among), **self.vpq.scores(among), **self.tracks.scores(among)}
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


def _plain(scores: Scores) -> Scores:
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def _table(names: Sequence[str], rows: Sequence[Scores]) -> str:
    """One line for each name; `-` where nothing counts."""
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
