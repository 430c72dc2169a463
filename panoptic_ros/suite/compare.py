# SPDX-License-Identifier: Apache-2.0
"""Comparison of the results of two runs of suites, paired by recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.core.documents import parse_json, read_json
from panoptic_ros.replay.bootstrap import LEVEL, interval
from panoptic_ros.replay.counts import COUNTS, scores_of
from panoptic_ros.suite.linear_counts import HEADLINE, Floats, figures_of, linear_counts
from panoptic_ros.suite.resample import bootstrap, holm, p_value, swap_sides
from panoptic_ros.suite.task import LINES, RECORDINGS, SUMMARY

MIN_RECORDINGS = 5
"""With fewer recordings the variance of a difference cannot be estimated."""

FAMILIES = ('all', 'tags', 'classes')

DRAWS = 10_000
DRAWS_PER_FIGURE = 50
"""Draws are at least this many times the figures of a family, so that the smallest p-value can be
below (1 - LEVEL) / figures, as Holm's correction requires of a change."""


@dataclass(frozen=True)
class SuiteRun:
    """Results of a run."""

    folder: Path
    summary: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]
    """Row of each recording that was replayed and scored, by name."""

    failed: int
    """Number of recordings without a row."""


class Figure(NamedTuple):
    """A score of both runs over the recordings that both have, percent."""

    score: str
    class_name: str
    """Class that it is of; empty for all."""

    tag: str
    """Tag of the recordings that it is of; empty for all."""

    recordings: int
    a: float | None
    b: float | None

    interval: tuple[float, float] | None = None
    """Interval of B - A at LEVEL, not corrected; None with too few recordings."""

    p: float | None = None
    """p-value of the randomisation test, corrected for the number in the family."""

    @property
    def key(self) -> str:
        """Name in conditions: `pq`, `pq:<class>` or `pq@<tag>`."""
        mark = ':' if self.class_name else '@' if self.tag else ''
        return f'{self.score}{mark}{self.class_name or self.tag}'

    @property
    def family(self) -> str:
        """Figures among which p-values are corrected: those of one of FAMILIES."""
        return 'classes' if self.class_name else 'tags' if self.tag else 'all'

    @property
    def difference(self) -> float | None:
        """B - A."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def verdict(self) -> str:
        """`regression`, `improvement` or, if neither is certain, empty."""
        if self.p is None or self.p >= 1 - LEVEL or not self.difference:
            return ''
        return 'regression' if self.difference < 0 else 'improvement'

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'key': self.key,
            **self._asdict(),
            'difference': self.difference,
            'verdict': self.verdict,
        }


@dataclass(frozen=True)
class SuiteComparison:
    """Result of `compare_suites`."""

    runs: tuple[SuiteRun, SuiteRun]
    paired: tuple[str, ...]
    """Names of the recordings that both runs have."""

    unpaired: tuple[str, ...]
    """Names of those that one of them lacks."""

    other_images: tuple[str, ...]
    """Names of paired recordings of which other numbers of images were scored."""

    figures: tuple[Figure, ...]

    def values(self) -> dict[str, float | None]:
        """Return what conditions can name: differences by figure, and counts."""
        return {
            **{figure.key: figure.difference for figure in self.figures},
            'regressions': sum(figure.verdict == 'regression' for figure in self.figures),
            'unpaired': len(self.unpaired),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'runs': {
                side: {
                    'folder': str(run.folder),
                    **{key: run.summary[key] for key in ('suite', 'model', 'mode', 'parameters')},
                    'recordings': run.summary['recordings'],
                    'latency_ms': run.summary['timing']['latency_ms'],
                    'software': run.summary['software'],
                }
                for side, run in zip('ab', self.runs, strict=True)
            },
            'paired': len(self.paired),
            'unpaired': list(self.unpaired),
            'other_images': list(self.other_images),
            'level': LEVEL,
            'correction': 'Holm, over the figures of each family',
            'regressions': self.values()['regressions'],
            'figures': [figure.to_dict() for figure in self.figures],
        }


def read_suite_run(folder: Path) -> SuiteRun:
    """Read the results of a finished run.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: if they are damaged.
    """
    path, lines = folder / SUMMARY, folder / LINES
    if not path.is_file() or not lines.is_file():
        raise FileNotFoundError(
            f'{folder} holds no finished run of `panoptic suite run`: it has no '
            f'{SUMMARY if lines.is_file() else LINES}'
        )
    try:
        summary = dict(read_json(path))
        rows = [
            dict(parse_json(line, str(lines))) for line in lines.read_text('utf-8').splitlines()
        ]
        scored = {row['name']: row for row in rows if row['scored'] and not row['error']}
        run = SuiteRun(folder, summary, scored, sum(bool(row['error']) for row in rows))
        for key in ('suite', 'model', 'mode', 'parameters', 'recordings', 'software'):
            summary[key]
        summary['timing']['latency_ms']['p50']
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'the results in {folder} are damaged: {error!r}') from None
    return run


def compare_suites(a: SuiteRun, b: SuiteRun) -> SuiteComparison:
    """Compare two runs on the recordings that were replayed and scored in both.

    Scores are computed from added counts. For intervals, recordings are drawn with replacement,
    the same for both runs. For p-values, results of each recording are swapped between the runs
    or not. Tags are those of B.

    Raises:
        ValueError: if no recording is in both, or the classes differ.
        OSError: if counts cannot be read.
    """
    paired = tuple(name for name in b.rows if name in a.rows)
    if not paired:
        raise ValueError(
            f'{a.folder} and {b.folder} have no recording with scores in common; they are paired '
            'by name'
        )
    counts, names = _read_counts((a, b), paired)
    tags = sorted({tag for name in paired for tag in b.rows[name]['tags']})
    members = {tag: [i for i, n in enumerate(paired) if tag in b.rows[n]['tags']] for tag in tags}
    groups = {'': list(range(len(paired))), **members}
    draws = max(DRAWS, DRAWS_PER_FIGURE * max(len(HEADLINE) * len(tags), len(names)))
    figures = [
        figure
        for tag, places in groups.items()
        for figure in _figures(
            {name: table[places] for name, table in counts.items()}, names, tag, draws
        )
    ]
    return SuiteComparison(
        (a, b),
        paired,
        tuple(sorted(a.rows.keys() ^ b.rows.keys())),
        tuple(name for name in paired if a.rows[name]['scored'] != b.rows[name]['scored']),
        tuple(_corrected(figures)),
    )


def _read_counts(
    runs: tuple[SuiteRun, SuiteRun], paired: Sequence[str]
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """Return the counts of each recording, (R, 2, ...), and the names of the classes."""
    tables: dict[str, Floats] = {}
    labels = None
    for i, name in enumerate(paired):
        for side, run in enumerate(runs):
            path = run.folder / RECORDINGS / name / COUNTS
            scores = scores_of(read_json(path), str(path))
            labels = labels or scores.labels
            if scores.labels.names != labels.names:
                other = set(scores.labels.names) ^ set(labels.names)
                raise ValueError(
                    f'the results were computed with other classes: '
                    f'{", ".join(sorted(other)) or "the order differs"}'
                )
            for key, array in linear_counts(scores).items():
                if key not in tables:
                    tables[key] = np.zeros((len(paired), 2, *array.shape))
                tables[key][i, side] = array
    assert labels
    return tables, labels.names


def _figures(
    counts: Mapping[str, Floats], names: Sequence[str], tag: str, draws: int
) -> list[Figure]:
    """Return the figures of a group of recordings; p-values are not yet corrected."""
    recordings = len(counts['panoptic'])
    total = figures_of({name: table.sum(axis=0) for name, table in counts.items()}, names)
    drawn, swapped = (
        draw(counts, draws, lambda sums: figures_of(sums, names))
        if recordings >= MIN_RECORDINGS
        else {}
        for draw in (bootstrap, swap_sides)
    )
    figures = []
    for key, values in total.items():
        if np.isnan(values).all() or (tag and key not in HEADLINE):
            continue
        a, b = (None if np.isnan(value) else float(value) for value in values)
        score, _, class_name = key.partition(':')
        figure = Figure(score, class_name, tag, recordings, a, b)
        if key in drawn and figure.difference is not None:
            figure = figure._replace(
                interval=interval(drawn[key]), p=p_value(figure.difference, swapped[key])
            )
        figures.append(figure)
    return figures


def _corrected(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures with p-values that are corrected for the number in their family."""
    corrected = list(figures)
    for family in {figure.family for figure in figures}:
        places = [i for i, one in enumerate(figures) if one.family == family and one.p is not None]
        for i, p in zip(places, holm([figures[i].p or 0.0 for i in places]), strict=True):
            corrected[i] = figures[i]._replace(p=p)
    return corrected
