# SPDX-License-Identifier: Apache-2.0
"""Comparison of two replays, with confidence intervals of their differences."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.node.parameters import present_name
from panoptic_ros.replay.bootstrap import LEVEL, BlockBootstrap, Floats, Pair, interval
from panoptic_ros.replay.finished_run import ReplayRun
from panoptic_ros.replay.frame_records import FrameRecord


class Row(NamedTuple):
    """One figure of both runs."""

    name: str
    a: float | None
    b: float | None
    interval: tuple[float, float] | None = None
    """Confidence interval of b - a, at `LEVEL`; None if it cannot be computed."""

    @property
    def difference(self) -> float | None:
        """B - a."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'name': self.name,
            'a': self.a,
            'b': self.b,
            'difference': self.difference,
            'interval': self.interval,
        }


@dataclass(frozen=True)
class Comparison:
    """Result of `compare_replays`."""

    a: str
    b: str
    paired: int
    """Number of images that are in both runs."""

    differing: tuple[str, ...]
    """One line for each setting and the like that differs between the runs."""

    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'a': self.a,
            'b': self.b,
            'paired': self.paired,
            'differing': list(self.differing),
            'level': LEVEL,
            'rows': [row.to_dict() for row in self.rows],
        }


def compare_replays(a: ReplayRun, b: ReplayRun) -> Comparison:
    """Compare two replays on the images that both have.

    Images with the same camera and stamp are paired; of several with one stamp those that were
    recorded nearest to each other.

    Raises:
        ValueError: if the replays share no image, or their models have different classes.
    """
    names = a.summary['model']['classes']
    if b.summary['model']['classes'] != names:
        other = set(names) ^ set(b.summary['model']['classes'])
        raise ValueError(
            "the runs' models have other classes: "
            f'{", ".join(sorted(other)) or "the order differs"}'
        )
    pairs = _pair_records(a.records, b.records)
    if not pairs:
        raise ValueError(f'{a.name} and {b.name} share no image: no stamp is in both')
    scored = [pair for pair in pairs if all(r.quality is not None for r in pair)]
    rows: list[Row] = []
    if scored:
        rows += _quality_rows(scored, names)
        rows += [
            _summary_row(label, a, b, 'scores', 'video', 'all', key)
            for label, key in (('STQ', 'stq'), ('VPQ', 'vpq'), ('IDF1', 'idf1'))
        ]
        rows.append(_sum_row('id switches', scored, lambda record: len(record.switches)))
    rows.append(
        _sum_row(
            'images without a result', pairs, lambda record: bool(record.problem or record.stale)
        )
    )
    timed = [pair for pair in pairs if all('total' in r.times_ms for r in pair)]
    if timed:
        rows.append(_mean_row('latency, mean ms', timed, lambda record: record.times_ms['total']))
    rows += [
        _summary_row(f'latency {key}, ms', a, b, 'timing', 'latency_ms', 'total', key)
        for key in ('p50', 'p95')
    ]
    rows.append(_summary_row('tracks', a, b, 'tracks', 'confirmed'))
    return Comparison(a.name, b.name, len(pairs), tuple(differing(a, b)), tuple(rows))


def _row(name: str, values: Sequence[float | None] | Floats, draws: Floats | None = None) -> Row:
    """Return a row from the values of both runs and those of each draw, (DRAWS, 2)."""
    a, b = (None if value is None or np.isnan(value) else float(value) for value in values)
    return Row(name, a, b, None if draws is None else interval(draws))


def _summary_row(name: str, a: ReplayRun, b: ReplayRun, *path: str) -> Row:
    """Return the row of a figure of the summaries, which has no interval."""
    return _row(name, [run.value(*path) for run in (a, b)])


def _quality_rows(pairs: Sequence[Pair], names: Sequence[str]) -> list[Row]:
    """Return PQ over all classes, PQ of each class that occurs in one of the runs, and mIoU."""
    bootstrap, count = BlockBootstrap(pairs), len(names)
    pq, pq_draws = _class_scores(bootstrap, pairs, count, lambda r: r.quality, 4, _pq)
    iou, iou_draws = _class_scores(bootstrap, pairs, count, lambda r: r.overlap, 2, _iou)
    return [
        _class_mean_row('PQ', pq, pq_draws),
        *(
            _row(f'PQ {name}', pq[:, i], None if pq_draws is None else pq_draws[..., i])
            for i, name in enumerate(names)
            if not np.isnan(pq[:, i]).all()
        ),
        _class_mean_row('mIoU', iou, iou_draws),
    ]


def _class_mean_row(name: str, scores: Floats, draws: Floats | None) -> Row:
    """Return the row of a mean over the classes that occur; see `_class_scores`."""
    means = [None if np.isnan(run).all() else float(np.nanmean(run)) for run in scores]
    return _row(name, means, None if draws is None else np.nanmean(draws, axis=-1))


def _class_scores(
    bootstrap: BlockBootstrap,
    pairs: Sequence[Pair],
    count: int,
    sums: Callable[[FrameRecord], Mapping[int, Sequence[float]] | None],
    width: int,
    score: Callable[[Floats], Floats],
) -> tuple[Floats, Floats | None]:
    """Compute scores by class, percent; NaN for a class that does not occur.

    Args:
        bootstrap: of the pairs.
        pairs: of records.
        count: C, number of classes.
        sums: function that returns the numbers an image adds to each class.
        width: how many numbers that are.
        score: function from (..., C, width) sums to (..., C) percent.

    Returns:
        Scores of both runs, (2, C), and of the draws, (DRAWS, 2, C).
    """
    table = np.zeros((bootstrap.count, 2, count, width))
    for block, pair in zip(bootstrap.blocks, pairs, strict=True):
        for run, record in enumerate(pair):
            for class_id, values in (sums(record) or {}).items():
                table[block, run, class_id] += values
    draws = bootstrap.draw_sums(table)
    return score(table.sum(axis=0)), None if draws is None else score(draws)


def _pq(sums: Floats) -> Floats:
    """Return PQ from sums of IoU, true positives, false positives and false negatives."""
    with np.errstate(invalid='ignore', divide='ignore'):
        return 100 * sums[..., 0] / (sums[..., 1] + (sums[..., 2] + sums[..., 3]) / 2)


def _iou(sums: Floats) -> Floats:
    """Return IoU from the pixels of intersection and union."""
    with np.errstate(invalid='ignore', divide='ignore'):
        return 100 * sums[..., 0] / sums[..., 1]


def _sum_row(name: str, pairs: Sequence[Pair], value: Callable[[FrameRecord], float]) -> Row:
    """Return the row of a sum over the images."""
    bootstrap = BlockBootstrap(pairs)
    sums = _block_sums(bootstrap, pairs, value)
    return _row(name, sums.sum(axis=0), bootstrap.draw_sums(sums))


def _mean_row(name: str, pairs: Sequence[Pair], value: Callable[[FrameRecord], float]) -> Row:
    """Return the row of a mean over the images."""
    bootstrap = BlockBootstrap(pairs)
    sums = _block_sums(bootstrap, pairs, value)
    draws = bootstrap.draw_sums(sums)
    counts = bootstrap.draw_sums(_block_sums(bootstrap, pairs, lambda record: 1.0))
    return _row(
        name,
        sums.sum(axis=0) / len(pairs),
        None if draws is None or counts is None else draws / counts,
    )


def _block_sums(
    bootstrap: BlockBootstrap, pairs: Sequence[Pair], value: Callable[[FrameRecord], float]
) -> Floats:
    """Return the sum of a value over the images of each block, for both runs: (blocks, 2)."""
    return np.stack(
        [
            np.bincount(bootstrap.blocks, [value(r) for r in run])
            for run in zip(*pairs, strict=True)
        ],
        axis=1,
    ).astype(float)


def differing(a: ReplayRun, b: ReplayRun) -> list[str]:
    """Return a line for each setting and the like that differs."""
    first, second = _settings(a), _settings(b)
    return [
        _difference(name, first.get(name), second.get(name))
        for name in first | second
        if first.get(name) != second.get(name)
    ]


def _settings(run: ReplayRun) -> dict[str, Any]:
    """Return everything that determines the results of a replay."""
    return {
        'source': run.value('source'),
        'mode': run.value('mode'),
        'model': run.value('model', 'name'),
        'model hash': run.value('model', 'hash'),
        'backend': run.value('model', 'backend'),
        'device': run.value('model', 'device'),
        'start, s': run.value('part', 'start_s'),
        'duration, s': run.value('part', 'duration_s'),
        'stride': run.value('part', 'stride'),
        'topics': {name: c['topic'] for name, c in (run.value('cameras') or {}).items()},
        'ground truth': run.value('ground_truth'),
        **{
            present_name(name) or name: value
            for name, value in sorted(run.summary['settings'].items())
            if name != 'model'
        },
    }


def _difference(name: str, *values: Any) -> str:
    """Return a line with the values of both runs."""
    return f'{name}: {" / ".join(_text(value) for value in values)}'


def _text(value: Any) -> str:
    """Return a value of a summary in words; a dash for none, and for an empty list."""
    if isinstance(value, list):
        return ', '.join(map(str, value)) or '-'
    if isinstance(value, bool):
        return str(value).lower()
    return '-' if value is None else str(value)


def _pair_records(a: Sequence[FrameRecord], b: Sequence[FrameRecord]) -> list[Pair]:
    """Pair the records of the same images, in the order of `a`; each record occurs once."""
    by_image: dict[tuple[str, int], dict[int, list[FrameRecord]]] = defaultdict(dict)
    for record in b:
        by_image[record.camera, record.stamp_ns].setdefault(record.recorded_ns, []).append(record)
    partners: dict[int, FrameRecord] = {}
    for exact in (True, False):  # first records with the same time of recording
        for i, record in enumerate(a):
            others = by_image.get((record.camera, record.stamp_ns))
            if i in partners or not others:
                continue
            time_ns = record.recorded_ns
            if not exact:
                time_ns = min(others, key=lambda other_ns: abs(other_ns - time_ns))
            if time_ns in others:
                partners[i] = others[time_ns].pop(0)
                if not others[time_ns]:
                    del others[time_ns]
    return [(a[i], partners[i]) for i in sorted(partners)]
