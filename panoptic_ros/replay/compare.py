# SPDX-License-Identifier: Apache-2.0
"""Two replays side by side, with confidence intervals of their differences.

Intervals are of a paired bootstrap over blocks of time: both runs are drawn at the same moments,
and neighbouring images, which are much alike, are drawn together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.documents import read_json
from panoptic_ros.replay.frame_records import FrameRecord, read_records

BLOCK_S = 1.0
"""Length of a block; a tenth of the clip where that is shorter."""

LEAST_BLOCKS = 5
"""Fewer blocks say nothing about how much a difference scatters."""

DRAWS = 2000

LEVEL = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A finished replay, as its folder has it."""

    name: str
    summary: Mapping[str, Any]
    records: Sequence[FrameRecord]


class Row(NamedTuple):
    """One figure of both runs."""

    name: str
    a: float | None
    b: float | None
    interval: tuple[float, float] | None = None
    """Of b - a, at LEVEL; None where there is none to be had."""

    @property
    def difference(self) -> float | None:
        """B - a."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            'name': self.name,
            'a': self.a,
            'b': self.b,
            'difference': self.difference,
            'interval': self.interval,
        }


@dataclass(frozen=True)
class Comparison:
    """What `compare` gives."""

    a: str
    b: str
    paired: int
    """Images that both runs have."""

    differing: tuple[str, ...]
    """Lines about what else is not the same in both."""

    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            'a': self.a,
            'b': self.b,
            'paired': self.paired,
            'differing': list(self.differing),
            'level': LEVEL,
            'rows': [row.to_dict() for row in self.rows],
        }


def read_run(folder: Path) -> Run:
    """Reads what a replay left.

    Raises:
        FileNotFoundError, ValueError: if the folder is not that of a finished replay.
    """
    path = folder / 'summary.json'
    records = read_records(folder / 'frames.jsonl')
    try:
        summary = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f'no summary.json in {folder}') from None
    classes = _get(summary, ('model', 'classes'))
    if not isinstance(classes, list) or not isinstance(_get(summary, ('settings',)), dict):
        raise ValueError(f'{path} is damaged: it names no classes or no settings')
    ids = {i for record in records for i in (*(record.quality or ()), *(record.overlap or ()))}
    if ids and not 0 <= min(ids) <= max(ids) < len(classes):
        raise ValueError(
            f'{folder / "frames.jsonl"} is damaged: class ids must be 0 to '
            f'{len(classes) - 1}, got {min(ids)} to {max(ids)}'
        )
    return Run(str(folder), summary, records)


def compare(a: Run, b: Run) -> Comparison:
    """Sets two runs side by side.

    Images with the same camera and stamp are compared; of several those that were recorded
    nearest to each other.

    Raises:
        ValueError: if they share no image, or their models have other classes.
    """
    names = a.summary['model']['classes']
    if b.summary['model']['classes'] != names:
        other = set(names) ^ set(b.summary['model']['classes'])
        raise ValueError(
            "the runs' models have other classes: "
            f'{", ".join(sorted(other)) or "the order differs"}'
        )
    pairs = _pairs(a.records, b.records)
    if not pairs:
        raise ValueError(f'{a.name} and {b.name} share no image: no stamp is in both')
    scored = [pair for pair in pairs if all(r.quality is not None for r in pair)]
    rows: list[Row] = []
    if scored:
        rows += _quality_rows(scored, names)
        rows += [
            _row(label, [_at(run.summary, *path) for run in (a, b)])
            for label, *path in (
                ('STQ', 'scores', 'video', 'all', 'stq'),
                ('VPQ', 'scores', 'video', 'all', 'vpq'),
                ('IDF1', 'scores', 'video', 'all', 'idf1'),
            )
        ]
        rows.append(_summed('id switches', scored, lambda record: len(record.switches)))
    rows.append(
        _summed(
            'images without a result', pairs, lambda record: bool(record.problem or record.stale)
        )
    )
    timed = [pair for pair in pairs if all('total' in r.times_ms for r in pair)]
    if timed:
        rows.append(_mean_row('latency, mean ms', timed, lambda record: record.times_ms['total']))
    rows += [
        _row(
            f'latency {name}, ms',
            [_at(run.summary, 'timing', 'latency_ms', 'total', name) for run in (a, b)],
        )
        for name in ('p50', 'p95')
    ]
    rows.append(_row('tracks', [_at(run.summary, 'tracks', 'confirmed') for run in (a, b)]))
    return Comparison(a.name, b.name, len(pairs), tuple(_differing(a, b)), tuple(rows))


def _quality_rows(
    pairs: Sequence[tuple[FrameRecord, FrameRecord]], names: Sequence[str]
) -> list[Row]:
    """PQ over all classes and of each that occurs in one of the runs, and mIoU."""
    whole, drawn = _by_class(pairs, len(names), lambda record: record.quality, 4, _pq)
    rows = [
        _row(
            'PQ', [_mean(pq) for pq in whole], _interval([np.nanmean(pq, axis=1) for pq in drawn])
        )
    ]
    rows += [
        _row(f'PQ {name}', [_none(pq[i]) for pq in whole], _interval([pq[:, i] for pq in drawn]))
        for i, name in enumerate(names)
        if not all(np.isnan(pq[i]) for pq in whole)
    ]
    whole, drawn = _by_class(pairs, len(names), lambda record: record.overlap, 2, _iou)
    return [
        *rows,
        _row(
            'mIoU',
            [_mean(iou) for iou in whole],
            _interval([np.nanmean(iou, axis=1) for iou in drawn]),
        ),
    ]


def _by_class(
    pairs: Sequence[tuple[FrameRecord, FrameRecord]],
    count: int,
    sums: Callable[[FrameRecord], Mapping[int, Sequence[float]] | None],
    width: int,
    score: Callable[[Floats], Floats],
) -> tuple[list[Floats], list[Floats]]:
    """Scores of all images, (C,), and of each draw, (DRAWS, C); for both sides.

    Args:
        pairs: of images.
        count: C, of classes.
        sums: what an image adds to each class.
        width: numbers in that.
        score: from (..., C, width) sums to (..., C) percent.
    """
    blocks, weights = _draws(pairs)
    tables = []
    for side in (0, 1):
        table = np.zeros((blocks.max() + 1, count, width))
        for block, pair in zip(blocks, pairs, strict=True):
            for class_id, row in (sums(pair[side]) or {}).items():
                table[block, class_id] += row
        tables.append(table)
    return (
        [score(table.sum(axis=0)) for table in tables],
        [] if weights is None else [score(np.tensordot(weights, table, 1)) for table in tables],
    )


def _pq(sums: Floats) -> Floats:
    """Of IoU sums, true positives, false positives and negatives."""
    with np.errstate(invalid='ignore', divide='ignore'):
        return 100 * sums[..., 0] / (sums[..., 1] + (sums[..., 2] + sums[..., 3]) / 2)


def _iou(sums: Floats) -> Floats:
    """Of pixels in common and in either."""
    with np.errstate(invalid='ignore', divide='ignore'):
        return 100 * sums[..., 0] / sums[..., 1]


def _summed(
    name: str,
    pairs: Sequence[tuple[FrameRecord, FrameRecord]],
    value: Callable[[FrameRecord], float],
) -> Row:
    sums, drawn = _block_sums(pairs, value)
    return _row(name, [float(one.sum()) for one in sums], _interval(drawn))


def _mean_row(
    name: str,
    pairs: Sequence[tuple[FrameRecord, FrameRecord]],
    value: Callable[[FrameRecord], float],
) -> Row:
    sums, drawn = _block_sums(pairs, value)
    _, counts = _block_sums(pairs, lambda record: 1.0)
    return _row(
        name,
        [float(one.sum() / len(pairs)) for one in sums],
        _interval([one / count for one, count in zip(drawn, counts, strict=True)]),
    )


def _block_sums(
    pairs: Sequence[tuple[FrameRecord, FrameRecord]], value: Callable[[FrameRecord], float]
) -> tuple[list[Floats], list[Floats]]:
    """Sums by block, and their total in each draw; for both sides."""
    blocks, weights = _draws(pairs)
    sums: list[Floats] = [
        np.bincount(blocks, [value(pair[side]) for pair in pairs]).astype(float) for side in (0, 1)
    ]
    return sums, [] if weights is None else [weights @ one for one in sums]


def _draws(
    pairs: Sequence[tuple[FrameRecord, FrameRecord]],
) -> tuple[npt.NDArray[np.intp], Floats | None]:
    """Block of each pair, and how often each draw has each block: (DRAWS, blocks)."""
    times = [a.stamp_ns for a, _ in pairs]
    if min(times) == max(times):  # unusable stamps
        times = [a.recorded_ns for a, _ in pairs]
    start_ns, span_s = min(times), (max(times) - min(times)) / 1e9
    length_ns = max(1.0, min(BLOCK_S, span_s / 10) * 1e9)
    places = [
        (a.camera, int((time_ns - start_ns) / length_ns))
        for time_ns, (a, _) in zip(times, pairs, strict=True)
    ]
    order = {place: i for i, place in enumerate(dict.fromkeys(places))}
    blocks = np.array([order[place] for place in places])
    count = len(order)
    if count < LEAST_BLOCKS:
        return blocks, None
    chance = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    return blocks, chance.astype(float)


def _row(
    name: str, both: Sequence[float | None], interval: tuple[float, float] | None = None
) -> Row:
    return Row(name, both[0], both[1], interval)


def _interval(drawn: Sequence[Floats]) -> tuple[float, float] | None:
    if not drawn:
        return None
    difference = drawn[1] - drawn[0]
    difference = difference[~np.isnan(difference)]
    if len(difference) < DRAWS / 2:
        return None
    low, high = np.quantile(difference, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _differing(a: Run, b: Run) -> list[str]:
    lines = []
    for name, path in (
        ('source', ['source']),
        ('mode', ['mode']),
        ('model', ['model', 'name']),
        ('model hash', ['model', 'hash']),
        ('backend', ['model', 'backend']),
        ('device', ['model', 'device']),
        ('part', ['part']),
    ):
        values = [_get(run.summary, path) for run in (a, b)]
        if values[0] != values[1]:
            lines.append(f'{name}: {values[0]} / {values[1]}')
    settings = [run.summary['settings'] for run in (a, b)]
    lines += [
        f'{name}: {settings[0].get(name)} / {settings[1].get(name)}'
        for name in sorted(set(settings[0]) | set(settings[1]))
        if name != 'model' and settings[0].get(name) != settings[1].get(name)
    ]
    return lines


def _pairs(
    a: Sequence[FrameRecord], b: Sequence[FrameRecord]
) -> list[tuple[FrameRecord, FrameRecord]]:
    """The records of both that are of one image, in the order of `a`; each occurs once."""
    by_image: dict[tuple[str, int], dict[int, list[FrameRecord]]] = defaultdict(dict)
    for record in b:
        by_image[record.camera, record.stamp_ns].setdefault(record.recorded_ns, []).append(record)
    found: dict[int, FrameRecord] = {}
    for exact in (True, False):  # first those of the same recording
        for place, record in enumerate(a):
            others = by_image.get((record.camera, record.stamp_ns))
            if place in found or not others:
                continue
            time_ns = (
                record.recorded_ns
                if exact
                else min(others, key=partial(_distance, record.recorded_ns))
            )
            if time_ns in others:
                found[place] = others[time_ns].pop(0)
                if not others[time_ns]:
                    del others[time_ns]
    return [(a[place], found[place]) for place in sorted(found)]


def _distance(a: int, b: int) -> int:
    return abs(a - b)


def _get(values: Any, path: Sequence[str]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _at(values: Mapping[str, Any], *path: str) -> float | None:
    value = _get(values, path)
    return None if value is None else float(value)


def _mean(values: Floats) -> float | None:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else None


def _none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
