# SPDX-License-Identifier: Apache-2.0
"""The self-contained report of a replay, report.html."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.pages.page import css_colors, data_url, number, render
from panoptic_ros.replay.bootstrap import LEVEL
from panoptic_ros.replay.changes import Change
from panoptic_ros.replay.compare import Comparison
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.plots import latency_plot, quality_plot, rate_plot, timeline
from panoptic_ros.replay.summary import SHARED_STAMPS
from panoptic_ros.replay.worst import Candidate

TEMPLATES = Path(__file__).parent / 'templates'


def check_packages() -> None:
    """Check, before a long replay, that the packages of replay and report are installed.

    Raises:
        ValueError: if a package is missing; the message names it.
    """
    missing = [name for name in ('rosbags', 'matplotlib', 'jinja2') if not find_spec(name)]
    if missing:
        raise ValueError(
            f'replay needs {", ".join(missing)}: pip install "panoptic_ros[bag,report]"'
        )


def write_report(
    path: Path,
    summary: Mapping[str, Any],
    records: Sequence[FrameRecord],
    worst: Sequence[Candidate],
    labels: LabelSet,
    comparison: Comparison | None = None,
) -> None:
    """Write the report.

    Args:
        path: of the HTML file.
        summary: see `summarize`; source of all figures.
        records: of all images.
        worst: frames to show.
        labels: the model's classes.
        comparison: of the lock-step run with this live run.
    """
    tracks_plot, shown, total = timeline(records, labels)
    page = render(
        TEMPLATES,
        'report.html.j2',
        summary=summary,
        cards=_cards(summary),
        comparison=comparison,
        level=LEVEL,
        shared_stamps=SHARED_STAMPS,
        latency=latency_plot(records),
        rate=rate_plot(records),
        quality=quality_plot(records),
        timeline=tracks_plot,
        timeline_shown=shown,
        timeline_all=total,
        classes=_classes(summary, labels),
        switches=_switches(records, labels),
        # Browsers do not play its codec, so that a link opens a video player.
        videos=sorted(file.name for file in path.parent.glob('overlay*.mp4')),
        worst=[
            {
                'overlay': data_url(candidate.overlay),
                'ground_truth': data_url(candidate.ground_truth) if candidate.ground_truth else '',
                'record': candidate.record,
                'seconds': candidate.record.seconds(records),
            }
            for candidate in worst
        ],
    )
    write_bytes(page, path)


def write_comparison(
    path: Path, comparison: Comparison, changes: Sequence[Change], problem: str = ''
) -> None:
    """Write a page with a comparison alone.

    Args:
        path: of the HTML file.
        comparison: the figures.
        changes: the images to show.
        problem: why there are none; empty if no image changed.
    """
    page = render(
        TEMPLATES,
        'compare.html.j2',
        comparison=comparison,
        level=LEVEL,
        problem=problem,
        changes=[
            {
                'share': 100 * change.share,
                'camera': change.pair[0].camera,
                'stamp_ns': change.pair[0].stamp_ns,
                'seconds': change.pair[0].seconds([a for a, _ in comparison.pairs]),
                'sides': [
                    {'overlay': data_url(overlay), 'record': record}
                    for overlay, record in zip(change.overlays, change.pair, strict=True)
                ],
            }
            for change in changes
        ],
    )
    write_bytes(page, path)


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the report, each with its name and details."""
    frames, timing = summary['frames'], summary['timing']
    total = timing['latency_ms'].get('total', {})
    cards = []
    if summary['scores']:
        scores = summary['scores']
        panoptic, video = scores['panoptic'], scores['video']['all']
        cards += [
            (
                number(panoptic['all']['pq']),
                'PQ',
                f'things {number(panoptic["things"]["pq"])}, '
                f'stuff {number(panoptic["stuff"]["pq"])}',
            ),
            (number(scores['semantic']['miou']), 'mIoU', f'{scores["frames"]} images scored'),
            (number(video['stq']), 'STQ', f'AQ {number(video["aq"])}, SQ {number(video["sq"])}'),
            (number(video['vpq']), 'VPQ', ''),
            (number(video['idf1']), 'IDF1', f'MOTA {number(video["mota"])}'),
            (str(video['id_switches']), 'id switches', ''),
        ]
    missing = frames['bad'] + frames['lost']
    cards += [
        (
            str(frames['good']),
            'images with a result',
            f'{frames["bad"]} without, {frames["lost"]} lost' if missing else 'none without',
        ),
        (
            number(timing['rate_hz']),
            'results a second',
            'one after the other' if summary['mode'] == 'lock-step' else 'as published',
        ),
        (
            number(total.get('p50'), 0),
            'ms latency, p50',
            f'p95 {number(total.get("p95"), 0)}, max {number(total.get("max"), 0)}',
        ),
        (
            str(summary['tracks']['confirmed']),
            'tracks',
            ', '.join(f'{count} {name}' for name, count in summary['tracks']['by_class'].items()),
        ),
    ]
    return cards


def _classes(summary: Mapping[str, Any], labels: LabelSet) -> list[dict[str, Any]]:
    """Return scores and colour of each class that occurs."""
    if not summary['scores']:
        return []
    scores = summary['scores']
    return [
        {**panoptic, 'iou': semantic['iou'], 'video': video, 'color': color}
        for color, panoptic, semantic, video in zip(
            css_colors(labels),
            scores['panoptic']['per_class'],
            scores['semantic']['per_class'],
            scores['video']['per_class'],
            strict=True,
        )
        if panoptic['pq'] is not None or semantic['iou'] is not None
    ]


def _switches(records: Sequence[FrameRecord], labels: LabelSet) -> list[dict[str, Any]]:
    return [
        {
            'seconds': record.seconds(records),
            'camera': record.camera,
            'stamp_ns': record.stamp_ns,
            'name': labels.names[switch['class_id']],
            **switch,
        }
        for record in records
        for switch in record.switches
    ]
