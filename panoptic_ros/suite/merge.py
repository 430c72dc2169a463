# SPDX-License-Identifier: Apache-2.0
"""Results of all recordings of a suite, merged: counts are added, then scores computed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from heapq import nlargest
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.metrics.base import none_for_nan
from panoptic_ros.replay.counts import COUNTS, scores_of
from panoptic_ros.replay.scores import ReplayScores
from panoptic_ros.suite.latency import percentile
from panoptic_ros.suite.linear_counts import HEADLINE, figures_of, linear_counts
from panoptic_ros.suite.provenance import describe_software
from panoptic_ros.suite.task import DONE, Task, read_outcome

WORST_SHOWN = 12
"""Worst frames of a suite that are kept."""

PLACES = {
    'pq': ('panoptic', 'all', 'pq'),
    'miou': ('semantic', 'miou'),
    'stq': ('video', 'all', 'stq'),
    'vpq': ('video', 'all', 'vpq'),
    'hota': ('video', 'all', 'hota'),
    'idf1': ('video', 'all', 'idf1'),
    'id_switches': ('video', 'all', 'id_switches'),
}
"""Place of each score of the tables in `ReplayScores.to_dict`."""

FRAMES = ('replayed', 'good', 'bad', 'lost')
DROPS = ('played', 'received', 'lost_on_the_way', 'dropped')


@dataclass
class Group:
    """Sums over the recordings of a tag, or over all."""

    recordings: int = 0
    frames: Counter[str] = field(default_factory=Counter)
    tracks: int = 0
    scores: ReplayScores | None = None
    latency: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    drops: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Mapping[str, Any], scores: ReplayScores | None) -> None:
        """Add a recording."""
        summary, timing = outcome['summary'], outcome['timing']
        self.recordings += 1
        self.frames.update(summary['frames'])
        self.tracks += summary['tracks']['confirmed']
        self.latency.update(timing['latency'])
        self.seconds += timing['seconds']
        self.drops.update(_drops(summary))
        if scores is not None:
            self.scores = self.scores or ReplayScores(scores.labels)
            self.scores.merge(scores)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; times are in `timing` alone."""
        return {
            'recordings': self.recordings,
            'frames': {name: self.frames[name] for name in FRAMES},
            'tracks': self.tracks,
            'scores': _scores(self.scores),
            **({'drops': dict(self.drops)} if self.drops else {}),
            'timing': {
                'latency_ms': {
                    f'p{q}': _rounded(percentile(self.latency, q)) for q in (50, 95, 99)
                },
                'seconds': round(self.seconds, 1),
            },
        }


def merge_outcomes(
    settings: Mapping[str, Any], tasks: Sequence[Task]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Merge the outcomes of all recordings, in the order of the suite.

    One recording is in memory at a time; what remains of it is a row.

    Args:
        settings: what the results depend on.
        tasks: of all recordings; each has an outcome.

    Returns:
        The summary, and a row for each recording. Everything in the summary except `timing` (also
        that of each tag) and `software` is the same on every executor; so are the columns of rows
        before `latency_p50_ms`.
    """
    total, tags = Group(), dict[str, Group]()
    rows, failed, worst = [], [], list[dict[str, Any]]()
    for task in tasks:
        outcome = read_outcome(task)
        problem = 'its outcome was removed while the suite ran' if outcome is None else ''
        scores = None
        if outcome is not None and outcome['status'] == DONE:
            try:
                scores = read_scores(task)
            except (OSError, ValueError) as error:
                problem = str(error)
        elif outcome is not None:
            problem = outcome['error']
        rows.append(_row(task, outcome, scores, problem))
        if problem or outcome is None:
            failed.append({'name': task.name, 'path': task.recording.path, 'error': problem})
            continue
        for group in (total, *(tags.setdefault(tag, Group()) for tag in task.recording.tags)):
            group.add(outcome, scores)
        candidates = [{'recording': task.name, **frame} for frame in outcome['worst']]
        worst = nlargest(WORST_SHOWN, worst + candidates, key=lambda frame: frame['badness'])
    merged = total.to_dict()
    timing = merged.pop('timing') | {
        'finished': datetime.now(timezone.utc).isoformat(timespec='seconds')
    }
    return {
        **settings,
        **merged,
        'recordings': {'all': len(tasks), 'done': total.recordings, 'failed': len(failed)},
        'failed': failed,
        'tags': {name: tags[name].to_dict() for name in sorted(tags)},
        'worst': worst,
        'software': describe_software(),
        'timing': timing,
    }, rows


def read_scores(task: Task) -> ReplayScores | None:
    """Return the scores of a finished recording; None without ground truth.

    Raises:
        OSError, ValueError: if its counts are missing or damaged.
    """
    path = task.folder / COUNTS
    if not task.recording.ground_truth:
        return None
    return scores_of(read_json(path), str(path))


def value_of(scores: Mapping[str, Any] | None, place: Sequence[str]) -> Any:
    """Return a score by its place; None if there is none."""
    value: Any = scores
    for key in place:
        value = value[key] if value is not None else None
    return value


def _scores(scores: ReplayScores | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    values = scores.to_dict()
    del values['video']['switches']  # counted only; each replay lists its own
    return values


def _drops(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return what the running node received and dropped; nothing for lock-step."""
    live = summary.get('live')
    if not live:
        return {}
    dropped = sum(live['dropped_by_the_node'].values())
    return {**{name: live[name] for name in DROPS[:-1]}, 'dropped': dropped}


def _row(
    task: Task, outcome: Mapping[str, Any] | None, scores: ReplayScores | None, problem: str
) -> dict[str, Any]:
    """Return a recording's row of the tables; times and the host come last."""
    is_done = outcome is not None and outcome['status'] == DONE and not problem
    summary = outcome['summary'] if outcome and is_done else {}
    timing = (outcome or {}).get('timing', {})
    figures = figures_of(linear_counts(scores), scores.labels.names) if scores else {}
    frames, drops = summary.get('frames', {}), _drops(summary)
    return {
        'name': task.name,
        'path': task.recording.path,
        'tags': list(task.recording.tags),
        'error': problem,
        **{name: frames.get(name) for name in FRAMES},
        'scored': scores.frames if scores else None,
        **{name: none_for_nan(float(figures[name])) if figures else None for name in HEADLINE},
        'id_switches': int(scores.video.tracks.switched.sum()) if scores else None,
        'tracks': summary['tracks']['confirmed'] if summary else None,
        **{name: drops.get(name) for name in DROPS},
        **{
            f'latency_p{q}_ms': _rounded(percentile(timing.get('latency', {}), q))
            for q in (50, 95)
        },
        'seconds': timing.get('seconds'),
        'host': timing.get('host'),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
