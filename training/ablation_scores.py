# SPDX-License-Identifier: Apache-2.0
"""Scores of an ablation study: intervals over the seeds, and agreement with the paper's order."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from panoptic_ros.core.documents import read_json

from .ablation import DELTA, METRICS, Study, StudyRun, runs_of

CONFIDENCE = 0.95
"""Probability with which an interval contains the mean over all seeds."""

Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""Scores by variant name and metric, one for each finished seed, percent."""


def read_scores(run: StudyRun) -> dict[str, float]:
    """Return the scores of a finished run by metric, percent."""
    values = read_json(run.scores_file)
    found = {name: column.read(values) for name, column in METRICS.items()}
    return {name: value for name, value in found.items() if value is not None}


def collect(study: Study, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return the scores of all finished runs, see `Scores`."""
    runs = [run for run in runs_of(study, folder) if run.scores_file.is_file()]
    scores = {(run.variant.name, run.seed): read_scores(run) for run in runs}
    if study.base is not None:
        for (_, seed), own in scores.items():
            if base := scores.get((study.base, seed)):
                own[DELTA] = sum(
                    own[name] - base[name]
                    for name in study.metrics
                    if name != DELTA and name in own and name in base
                )
    return {
        variant.name: {
            name: [
                scores[variant.name, seed][name]
                for seed in study.seeds
                if name in scores.get((variant.name, seed), {})
            ]
            for name in study.metrics
        }
        for variant in study.variants
    }


def half_interval(values: Sequence[float]) -> float:
    """Return half the width of the interval that contains the mean over all seeds.

    Student's t with n - 1 degrees of freedom: t * s / sqrt(n), s the standard deviation of the
    values; NaN below two values.

    >>> round(half_interval([1.0, 2.0, 3.0]), 2)
    2.48
    """
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def rank_agreement(paper: Sequence[float], ours: Sequence[float]) -> float:
    """Return Kendall's tau-b of two columns: 1 if they agree on the order, NaN below two rows."""
    from scipy.stats import kendalltau

    return float(kendalltau(paper, ours).statistic) if len(paper) > 1 else math.nan


def agreements(study: Study, scores: Scores) -> dict[str, float]:
    """Return the rank agreement of each metric over the variants that have both scores."""
    result = {}
    for name in study.metrics:
        pairs = [
            (v.paper[name], float(np.mean(scores[v.name][name])))
            for v in study.variants
            if name in v.paper and scores[v.name][name]
        ]
        result[name] = rank_agreement(*zip(*pairs, strict=True)) if pairs else math.nan
    return result
