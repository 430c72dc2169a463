# SPDX-License-Identifier: Apache-2.0
"""Search of the tracker's settings on recorded validation clips."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.stq import SegmentationTrackingQuality
from panoptic_ros.metrics.tracks import TrackQuality
from panoptic_ros.tracking.config import RENAMED, TrackerConfig

from ..search import Range, draw, open_search, rounded, run_trials
from .study import IOU_ONLY, STEPS, Clip, track

METRICS = ('stq', 'idf1', 'hota')
"""Metrics whose mean over STEPS is maximised."""

SPACE: Mapping[str, Range] = {
    'max_age': (0.5, 4, True),
    'match_threshold': (0.4, 0.95, False),
    'low_score_match_threshold': (0.3, 0.95, False),
    'high_score_threshold': (0.7, 1.0, False),
    'new_track_threshold': (0.7, 0.95, False),
    'tentative_age': (0, 2, False),
    'velocity_time_constant': (0.05, 1.5, True),
    'embedding_weight': (0.05, 1.5, True),
    'class_cost': (0, 0.6, False),
    'class_time_constant': (0.2, 5, True),
    'reid_gate': (0, 0.8, False),
    'reid_max_speed': (0.5, 10, True),
    'box_expansion': (1, 3, False),
    'box_expansion_rate': (0, 4, False),
    'min_overlap': (0, 0.3, False),
    'embedding_time_constant': (0.1, 5, True),
    'embedding_spread': (0.003, 0.1, True),
    'spread_factor': (1, 30, True),
}
"""Settings that are searched, with their ranges. `min_hits` changes only the state of tracks, and
`iou_weight` is the unit of the other weight."""

IOU_KEYS = (
    'max_age',
    'match_threshold',
    'low_score_match_threshold',
    'high_score_threshold',
    'new_track_threshold',
    'tentative_age',
    'velocity_time_constant',
)
"""Settings that a tracker by overlap only has as well."""

EMBEDDING_KEYS = (
    'embedding_weight',
    'embedding_time_constant',
    'embedding_spread',
    'spread_factor',
    'reid_gate',
    'reid_max_speed',
)
"""Settings that have no effect without embeddings."""


def keys_of(start: TrackerConfig) -> list[str]:
    """Return the keys of SPACE that have an effect on a tracker of this kind."""
    if start == IOU_ONLY:
        return list(IOU_KEYS)
    return [key for key in SPACE if start.embedding_weight or key not in EMBEDDING_KEYS]


def mean_score(clips: Sequence[Clip], labels: LabelSet, config: TrackerConfig, step: int) -> float:
    """Return the mean of METRICS for a tracker that sees every `step`-th frame, percent."""
    stq, tracks = SegmentationTrackingQuality(labels), TrackQuality(labels)
    for clip in clips:
        for overlaps in track(clip, config, step):
            stq.update(overlaps)
            tracks.update(overlaps)
        stq.end_clip()
        tracks.end_clip()
    among = np.ones(len(labels), bool)
    scores: dict[str, Any] = {**stq.compute(among), **tracks.compute(among)}
    return float(np.mean([scores[name] for name in METRICS]))


def search(
    clips: Sequence[Clip], labels: LabelSet, start: TrackerConfig, database: Path, trials: int
) -> Iterator[tuple[TrackerConfig, float]]:
    """Search by Optuna's tree-structured Parzen estimator; resume an interrupted search.

    Trials with low scores after the first, fastest steps are pruned.

    Args:
        clips: validation clips.
        labels: their classes.
        start: settings that are tried first, with the values of those that are not searched.
        database: SQLite file of the trials.
        trials: total number, including those of earlier calls.

    Yields:
        The best settings so far, rounded to three digits, and their score; after each trial, and
        once for each trial of an earlier call.
    """
    import optuna

    space = {key: SPACE[key] for key in keys_of(start)}
    study = open_search(database, 'tracker', space, {key: getattr(start, key) for key in space})
    # A study that was begun before settings were renamed continues with their earlier names.
    earlier_names = {
        RENAMED[name]: name
        for trial in study.trials
        for name in (trial.params or trial.system_attrs.get('fixed_params', ()))
        if name in RENAMED
    }

    def objective(trial: optuna.Trial) -> float:
        drawn: dict[str, Any] = draw(trial, space, earlier_names)
        values = []
        for step in sorted(STEPS, reverse=True):
            values.append(mean_score(clips, labels, replace(start, **drawn), step))
            trial.report(float(np.mean(values)), len(values))
            if len(values) < len(STEPS) and trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(values))

    for _ in run_trials(study, objective, trials):
        best: dict[str, Any] = {
            RENAMED.get(name, name): rounded(value) for name, value in study.best_params.items()
        }
        yield replace(start, **best), study.best_value
