# SPDX-License-Identifier: Apache-2.0
"""Comparison of two replays, with confidence intervals of their differences."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.node.parameters import present_name
from panoptic_ros.replay.bootstrap import LEVEL, BlockBootstrap, Floats, Pair, interval
from panoptic_ros.replay.finished_run import ReplayRun
from panoptic_ros.replay.frame_records import FrameRecord, tracks_of


class Row(NamedTuple):
    """One figure of both runs, over the images that both have unless it says otherwise."""

    name: str
    a: float | None
    b: float | None
    interval: tuple[float, float] | None = None
    """Confidence interval of b - a, at `LEVEL`; None if it cannot be computed."""

    is_count: bool = False
    """Whether the values are integers."""

    whole_runs: bool = False
    """Whether each value is that of a whole run, while the runs have other images too."""

    @property
    def difference(self) -> float | None:
        """B - a."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def title(self) -> str:
        """The name, with a remark on a figure of whole runs."""
        return f'{self.name} (whole runs)' if self.whole_runs else self.name

    def cells(self) -> tuple[str, str, str, str]:
        """Return a, b, their difference and its interval as texts; a dash for a missing one."""
        form = '.0f' if self.is_count else '.1f'

        def text(value: float | None, sign: str) -> str:
            return '-' if value is None else f'{value:{sign if value else ""}{form}}'

        bounds = [text(value, '+') for value in self.interval or ()]
        return (
            text(self.a, ''),
            text(self.b, ''),
            text(self.difference, '+'),
            ' to '.join(bounds) or '-',
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'name': self.name,
            'a': self.a,
            'b': self.b,
            'difference': self.difference,
            'interval': self.interval,
            'whole_runs': self.whole_runs,
        }


class Fact(NamedTuple):
    """A property of both runs, as texts."""

    name: str
    a: str
    b: str

    differs: bool = False
    """Whether it is one that determines the results and differs between the runs."""

    def __str__(self) -> str:
        return f'{self.name}: {self.a} vs {self.b}'


@dataclass(frozen=True)
class Comparison:
    """Result of `compare_replays`."""

    a: str
    b: str
    pairs: Sequence[Pair]
    """Records of the images that are in both runs."""

    facts: tuple[Fact, ...]
    """What was replayed, with which model and when."""

    settings: tuple[Fact, ...]
    """The part that was replayed, and the node's parameters; what differs comes first."""

    rows: tuple[Row, ...]

    @property
    def paired(self) -> int:
        """Number of images that are in both runs."""
        return len(self.pairs)

    @property
    def differing(self) -> tuple[str, ...]:
        """One line for each setting and the like that differs between the runs."""
        return tuple(str(one) for one in (*self.facts, *self.settings) if one.differs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'a': self.a,
            'b': self.b,
            'runs': {
                side: {fact.name: getattr(fact, side) for fact in self.facts}
                for side in ('a', 'b')
            },
            'paired': self.paired,
            'differing': list(self.differing),
            'level': LEVEL,
            'rows': [row.to_dict() for row in self.rows],
        }


def compare_replays(a: ReplayRun, b: ReplayRun) -> Comparison:
    """Compare two replays on the images that both have.

    Images with the same camera and stamp are paired; of several with one stamp those that were
    recorded nearest to each other. Scores of video cannot be computed for a part of the images:
    if one run has images that the other lacks, theirs are those of the whole runs, and say so.

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
        rows += _video_rows(a, b, len(scored))
        rows.append(_sum_row('id switches', scored, lambda record: len(record.switches)))
    rows.append(
        _sum_row(
            'images without a result', pairs, lambda record: bool(record.problem or record.stale)
        )
    )
    timed = [pair for pair in pairs if all('total' in r.times_ms for r in pair)]
    if timed:
        rows += _latency_rows(timed)
    in_a, in_b = (len(tracks_of(run)) for run in zip(*pairs, strict=True))
    rows.append(Row('tracks', in_a, in_b, is_count=True))
    settings = sorted(_settings(a, b), key=lambda fact: not fact.differs)
    return Comparison(a.name, b.name, pairs, tuple(_facts(a, b)), tuple(settings), tuple(rows))


def _row(name: str, values: Sequence[float | None] | Floats, draws: Floats | None = None) -> Row:
    """Return a row from the values of both runs and those of each draw, (DRAWS, 2)."""
    a, b = (None if value is None or np.isnan(value) else float(value) for value in values)
    return Row(name, a, b, None if draws is None else interval(draws))


def _video_rows(a: ReplayRun, b: ReplayRun, scored: int) -> list[Row]:
    """Return the scores of video, which the summaries have for all scored images of a run."""
    is_part = any(sum(r.quality is not None for r in run.records) > scored for run in (a, b))
    return [
        _row(title, [run.value('scores', 'video', 'all', key) for run in (a, b)])._replace(
            whole_runs=is_part
        )
        for title, key in (('STQ', 'stq'), ('VPQ', 'vpq'), ('IDF1', 'idf1'))
    ]


def _latency_rows(pairs: Sequence[Pair]) -> list[Row]:
    """Return mean, median and 95th percentile of the latency of images with a result in both."""
    times = np.array([[record.times_ms['total'] for record in pair] for pair in pairs])
    return [
        _mean_row('latency, mean ms', pairs, lambda record: record.times_ms['total']),
        *(_row(f'latency p{q}, ms', np.percentile(times, q, axis=0)) for q in (50, 95)),
    ]


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


def _sum_row(name: str, pairs: Sequence[Pair], value: Callable[[FrameRecord], int]) -> Row:
    """Return the row of a count, summed over the images."""
    bootstrap = BlockBootstrap(pairs)
    sums = _block_sums(bootstrap, pairs, value)
    a, b = (int(count) for count in sums.sum(axis=0))
    draws = bootstrap.draw_sums(sums)
    bounds = None if draws is None else interval(draws)
    return Row(name, a, b, bounds and (round(bounds[0]), round(bounds[1])), is_count=True)


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
    return [str(one) for one in (*_facts(a, b), *_settings(a, b)) if one.differs]


def _facts(a: ReplayRun, b: ReplayRun) -> list[Fact]:
    """Return what was replayed, with which model and when."""
    return [
        Fact('folder', a.name, b.name),
        _fact('source', *(str(Path(str(run.value('source'))).resolve()) for run in (a, b))),
        Fact('images', str(len(a.records)), str(len(b.records))),
        Fact('replayed', a.date, b.date),
        _fact('mode', a.value('mode'), b.value('mode')),
        _fact('model', a.value('model', 'name'), b.value('model', 'name')),
        Fact('model file', a.model_file, b.model_file),
        *(
            _fact(title, a.value('model', key), b.value('model', key))
            for title, key in (
                ('model hash', 'hash'),
                ('backend', 'backend'),
                ('device', 'device'),
            )
        ),
    ]


def _settings(a: ReplayRun, b: ReplayRun) -> list[Fact]:
    """Return the part that was replayed, and the node's parameters."""
    first, second = _values(a), _values(b)
    return [_fact(name, first.get(name), second.get(name)) for name in first | second]


def _values(run: ReplayRun) -> dict[str, Any]:
    """Return the values of `_settings` of one run."""
    return {
        'start, s': run.value('part', 'start_s'),
        'duration, s': run.value('part', 'duration_s'),
        'stride': run.value('part', 'stride'),
        'topics': {name: c['topic'] for name, c in (run.value('cameras') or {}).items()},
        'depth': {
            name: c['beside']
            for name, c in (run.value('cameras') or {}).items()
            if c.get('beside')
        },
        'ground truth': run.value('ground_truth'),
        **{
            present_name(name) or name: value
            for name, value in sorted(run.summary['settings'].items())
            if name != 'model'
        },
    }


def _fact(name: str, a: Any, b: Any) -> Fact:
    """Return a fact that determines the results."""
    return Fact(name, _text(a), _text(b), a != b)


def _text(value: Any) -> str:
    """Return a value of a summary in words; a dash for none, and for an empty list."""
    if isinstance(value, Mapping):
        value = [f'{name}: {_text(item)}' for name, item in value.items()]
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_text, value)) or '-'
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
