# SPDX-License-Identifier: Apache-2.0
"""Page of a suite, index.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from panoptic_ros.core.files import write_bytes
from panoptic_ros.pages.page import number, render
from panoptic_ros.suite.compare import FAMILIES, SuiteComparison
from panoptic_ros.suite.merge import PLACES, value_of
from panoptic_ros.suite.task import LINES, RECORDINGS, WORST

TEMPLATES = Path(__file__).parent / 'templates'

MAX_ROWS = 2000
"""Most recordings of the page's table; those with the lowest PQ are shown, all are in LINES."""

TITLES = {
    'pq': 'PQ',
    'miou': 'mIoU',
    'stq': 'STQ',
    'vpq': 'VPQ',
    'hota': 'HOTA',
    'idf1': 'IDF1',
    'id_switches': 'id switches',
}


def write_page(path: Path, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the page.

    Args:
        path: of the HTML file, in the folder of the results.
        summary: of `merge_outcomes`.
        rows: of `merge_outcomes`.
    """
    shown = sorted(rows, key=_rank)[:MAX_ROWS]
    names = {row['name'] for row in shown}
    page = render(
        TEMPLATES,
        'suite.html.j2',
        summary=summary,
        cards=_cards(summary),
        titles=TITLES,
        rows=[row for row in rows if row['name'] in names],
        left_out=len(rows) - len(shown),
        lines=LINES,
        tags={name: {**tag, **_headline(tag['scores'])} for name, tag in summary['tags'].items()},
        classes=_classes(summary['scores']),
        worst=[
            {**frame, 'files': [quote(f'{WORST}/{file}') for file in frame['files']]}
            for frame in summary['worst']
        ],
        report=lambda name: quote(f'{RECORDINGS}/{name}/report.html'),
    )
    write_bytes(page, path)


def write_comparison_page(path: Path, comparison: SuiteComparison) -> None:
    """Write the page of a comparison."""
    page = render(
        TEMPLATES,
        'suite_compare.html.j2',
        comparison=comparison,
        values=comparison.to_dict(),
        groups=[
            (family.capitalize(), [f for f in comparison.figures if f.family == family])
            for family in FAMILIES
        ],
        titles=TITLES,
    )
    write_bytes(page, path)


def _rank(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Return a key that sorts failed recordings first, then those with the lowest PQ."""
    return not row['error'], float('inf') if row['pq'] is None else row['pq']


def _headline(scores: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value_of(scores, place) for name, place in PLACES.items()}


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the page, each with its name and details."""
    recordings, frames = summary['recordings'], summary['frames']
    latency, drops = summary['timing']['latency_ms'], summary.get('drops')
    scores = _headline(summary['scores'])
    cards = [
        (number(scores[name], 0 if name == 'id_switches' else 1), title, '')
        for name, title in TITLES.items()
        if scores[name] is not None
    ]
    missing = frames['bad'] + frames['lost']
    cards += [
        (
            str(recordings['done']),
            'recordings',
            f'{recordings["failed"]} failed' if recordings['failed'] else 'none failed',
        ),
        (
            str(frames['good']),
            'images with a result',
            f'{frames["bad"]} without, {frames["lost"]} lost' if missing else 'none without',
        ),
        (number(latency['p50'], 0), 'ms latency, p50', f'p95 {number(latency["p95"], 0)}'),
        (str(summary['tracks']), 'tracks', ''),
    ]
    if drops:
        cards.append((str(drops['dropped']), 'images dropped', f'of {drops["received"]} received'))
    return cards


def _classes(scores: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the scores of each class that occurs."""
    if scores is None:
        return []
    return [
        {**panoptic, 'iou': semantic['iou'], 'video': video}
        for panoptic, semantic, video in zip(
            *(scores[kind]['per_class'] for kind in ('panoptic', 'semantic', 'video')), strict=True
        )
        if panoptic['pq'] is not None or semantic['iou'] is not None
    ]
