# SPDX-License-Identifier: Apache-2.0
"""Record of each image of a replay (a line of frames.jsonl), and summaries of records."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.documents import parse_json
from panoptic_ros.core.frame import PanopticFrame, TrackState

DEFAULT_PERIOD_S = 0.1
"""Time between two images that is assumed if all have the same time."""

MS_DIGITS = 3
"""Decimals of milliseconds in files."""


@dataclass(frozen=True)
class TrackedThing:
    """A thing with a track, in one image."""

    track_id: int
    class_id: int
    confirmed: bool


@dataclass
class FrameRecord:
    """Record of one image of a camera."""

    camera: str
    index: int
    """Index among the replayed images of its camera."""

    stamp_ns: int
    """Header stamp; 0 if the message could not be decoded."""

    recorded_ns: int
    """Time of recording."""

    problem: str = ''
    """Why there is no result; empty if there is one."""

    stamp_problem: str = ''
    """Problem of the stamp and how it was handled, see `StampClock`; empty if there is none."""

    times_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage, and `total`; empty without a result."""

    segments: int = 0
    """Number of segments."""

    confidence: float = 0.0
    """Mean score over the pixels of the image; void counts as 0."""

    seen: tuple[TrackedThing, ...] = ()
    """Things with a track."""

    quality: dict[int, tuple[float, int, int, int]] | None = None
    """IoU sum, true positives, false positives and false negatives by class id, for classes that
    occur; None without ground truth."""

    overlap: dict[int, tuple[int, int]] | None = None
    """Pixels of intersection and union of predicted and ground truth class, by class id."""

    pq: float | None = None
    """PQ of this image, mean over the classes that occur in it, percent."""

    switches: tuple[dict[str, int], ...] = ()
    """Id switches in this image; see `metrics.tracks.IdSwitch`."""

    stale: bool = False
    """Whether the image had no result of its own and was scored with an older one (live)."""

    def describe(self, frame: PanopticFrame) -> None:
        """Set the values that a frame determines: segments, confidence, things with a track."""
        rows = frame.segments
        self.segments = len(rows)
        pixels = frame.geometry.image_size[0] * frame.geometry.image_size[1]
        self.confidence = float((rows['score'].astype(float) * rows['area']).sum() / pixels)
        self.seen = tuple(
            TrackedThing(
                int(row['track_id']),
                int(row['class_id']),
                int(row['state']) == TrackState.CONFIRMED,
            )
            for row in rows[rows['track_id'] > 0]
        )

    def seconds(self, records: 'Sequence[FrameRecord]') -> float:
        """Return the seconds since the first of all images, by times of recording.

        Stamps are not used because they may jump or start at 0.
        """
        return (self.recorded_ns - records[0].recorded_ns) / 1e9

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        values = asdict(self)
        values['seen'] = [[s.track_id, s.class_id, int(s.confirmed)] for s in self.seen]
        return json.dumps(values, separators=(',', ':'))

    @classmethod
    def from_json(cls, line: str) -> 'FrameRecord':
        """Read a record from a line of `to_json`."""
        values = parse_json(line, 'the line')
        values['seen'] = tuple(
            TrackedThing(track, class_id, bool(confirmed))
            for track, class_id, confirmed in values['seen']
        )
        values['switches'] = tuple(values['switches'])
        for name in ('quality', 'overlap'):
            if values[name] is not None:
                values[name] = {int(i): tuple(row) for i, row in values[name].items()}
        return cls(**values)


def write_records(records: Iterable[FrameRecord], path: Path) -> None:
    """Write frames.jsonl."""
    with path.open('w', encoding='utf-8') as file:
        file.writelines(f'{record.to_json()}\n' for record in records)


def read_records(path: Path) -> list[FrameRecord]:
    """Read frames.jsonl.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'no {path.name} in {path.parent}; is it a folder that `panoptic replay` wrote?'
        )
    try:
        return [
            FrameRecord.from_json(line) for line in path.read_text(encoding='utf-8').splitlines()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is damaged: {error}') from None


@dataclass(frozen=True)
class Track:
    """Times at which a track was visible."""

    camera: str
    track_id: int
    class_id: int
    spans: tuple[tuple[float, float], ...]
    """(start, end) in seconds of the clip, separated by gaps of more than two images."""

    frames: int
    """Number of images with the track."""


def tracks_of(records: Sequence[FrameRecord]) -> list[Track]:
    """Return the confirmed tracks, ordered by camera, start and id."""
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    classes: dict[tuple[str, int], Counter[int]] = defaultdict(Counter)
    confirmed = set()
    for record in records:
        for thing in record.seen:
            key = record.camera, thing.track_id
            times[key].append(record.seconds(records))
            classes[key][thing.class_id] += 1
            if thing.confirmed:
                confirmed.add(key)
    gap_s = 2.5 * (period_s(records) or DEFAULT_PERIOD_S)
    tracks = [
        Track(*key, classes[key].most_common(1)[0][0], _spans(times[key], gap_s), len(times[key]))
        for key in confirmed
    ]
    return sorted(tracks, key=lambda track: (track.camera, track.spans[0][0], track.track_id))


def period_s(records: Sequence[FrameRecord]) -> float | None:
    """Return the median time between consecutive images of a camera, without repeated stamps.

    Returns:
        Seconds, above 0; None if no two images have different times.
    """
    steps = [
        _step_ns(a, b) / 1e9
        for camera in {record.camera for record in records}
        for a, b in pairwise(record for record in records if record.camera == camera)
    ]
    steps = [step for step in steps if step > 0]
    return float(np.median(steps)) if steps else None


def _step_ns(a: FrameRecord, b: FrameRecord) -> int:
    """Return the time between two images by stamp, or by time of recording if one is unusable."""
    if all(record.stamp_ns and not record.stamp_problem for record in (a, b)):
        return b.stamp_ns - a.stamp_ns
    return b.recorded_ns - a.recorded_ns


def _spans(times: Sequence[float], gap_s: float) -> tuple[tuple[float, float], ...]:
    spans: list[list[float]] = []
    for time_s in sorted(times):
        if spans and time_s - spans[-1][1] <= gap_s:
            spans[-1][1] = time_s
        else:
            spans.append([time_s, time_s])
    return tuple((start, end) for start, end in spans)


def latency_summary(records: Iterable[FrameRecord]) -> dict[str, dict[str, float]]:
    """Return p50, p95 and maximum of the time of each stage, ms."""
    rows = [record.times_ms for record in records if record.times_ms]
    stages = list(rows[0]) if rows else []
    return {
        stage: {
            name: round(float(np.percentile([row[stage] for row in rows], q)), MS_DIGITS)
            for name, q in (('p50', 50), ('p95', 95), ('max', 100))
        }
        for stage in stages
    }


def track_summary(records: Sequence[FrameRecord], names: Sequence[str]) -> dict[str, Any]:
    """Return the number of confirmed tracks, in total and by class, and their median length."""
    tracks = tracks_of(records)
    by_class = Counter(names[track.class_id] for track in tracks)
    frames = [track.frames for track in tracks]
    return {
        'confirmed': len(tracks),
        'by_class': dict(sorted(by_class.items())),
        'median_frames': float(np.median(frames)) if frames else None,
    }


def count_texts(texts: Iterable[str]) -> Mapping[str, int]:
    """Count how often each text that is not empty occurs."""
    return dict(Counter(filter(None, texts)))
