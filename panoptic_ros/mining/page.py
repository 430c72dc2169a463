# SPDX-License-Identifier: Apache-2.0
"""Page that shows the chosen frames and why each was chosen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.text import counted
from panoptic_ros.mining.signals import SIGNALS
from panoptic_ros.pages.gallery import Gallery, Item
from panoptic_ros.pages.page import render

TEMPLATES = Path(__file__).parent / 'templates'

REASON = 0.75
"""Least rank of a signal that counts as a reason."""


def write_page(
    path: Path,
    picks: Sequence[Mapping[str, Any]],
    recordings: Sequence[str],
    examined: int,
    blur: bool,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        picks: the frames as in picks.json, with addresses of pictures relative to the page.
        recordings: names of the recordings.
        examined: number of frames from which they were chosen.
        blur: whether heads and number plates are blurred.
    """
    used = [name for name in SIGNALS if name in picks[0]['signals']]
    items = [_item(pick, used, recordings) for pick in picks]
    gallery = Gallery(
        'frames',
        items,
        {
            'rank': ('order of choice', False),
            'worth': ('worth', True),
            **{name: (SIGNALS[name], True) for name in used},
        },
        {'reason': [SIGNALS[name] for name in used], 'recording': list(dict.fromkeys(recordings))},
    )
    page = render(
        TEMPLATES,
        'picked.html.j2',
        gallery=gallery.to_dict(),
        picked=counted(len(picks), 'frame'),
        examined=examined,
        recordings=recordings,
        missing=[SIGNALS[name] for name in SIGNALS if name not in used],
        blur=blur,
        reason=REASON,
    )
    write_bytes(page, path)


def reasons(pick: Mapping[str, Any]) -> list[str]:
    """Return the signals of a frame whose rank is high or its highest, the highest first.

    There is none if no signal of the frame is above the smallest one of all frames.
    """
    ranked = sorted(pick['ranks'].items(), key=lambda one: -one[1])
    least = min(REASON, ranked[0][1])
    return [name for name, rank in ranked if rank >= least and rank > 0]


def _item(pick: Mapping[str, Any], used: Sequence[str], recordings: Sequence[str]) -> Item:
    """Return the gallery's entry of a frame."""
    recording, events = recordings[pick['recording']], pick['events']
    lines = [f'choice {pick["rank"]}, worth {pick["worth"]:.2f}']
    for name in reasons(pick):
        share, value = 100 * pick['ranks'][name], pick['signals'][name]
        more = f' ({", ".join(counted(n, what) for what, n in events.items())})'
        lines.append(
            f'{SIGNALS[name]}: {value:.2f}, more than in {share:.0f} % of the frames'
            f'{more if name == "flicker" and events else ""}'
        )
    if len(lines) == 1:
        lines.append('differs from the frames chosen before')
    lines.append(f'{recording}, {pick["camera"]}, stamp {pick["stamp_ns"]}')
    return Item(
        Path(pick['file']).stem,
        pick['picture'],
        lines,
        {
            'rank': pick['rank'],
            'worth': pick['worth'],
            **{name: pick['signals'][name] for name in used},
        },
        [(SIGNALS[name], recording) for name in reasons(pick)],
    )
