# SPDX-License-Identifier: Apache-2.0
"""Search of the thresholds of a model's decoding on labelled images.

HLE's authors choose theirs in this way (Kerola et al., CVPR 2021, section 4.2).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.runtime.predictor import Predictor

from .data.sample import Sample
from .evaluation.scoring import pair_of
from .search import Range, draw, open_search, rounded, run_trials

PROB_RANGE: Range = (0.02, 0.98, False)
"""Range of a threshold whose maximum is 1."""

LARGEST_AREA = 0.01
"""Largest threshold of an area, as a share of the network's input."""

PRUNED_AFTER = (0.25, 0.5)
"""Shares of the images after which a trial may end early."""


class Tuned(NamedTuple):
    """Thresholds and the score that they reach."""

    thresholds: Mapping[str, float]
    """Values by name; areas in input px."""

    pq: float
    """Panoptic quality on the images of the search, percent."""


def space_of(info: ModelInfo) -> dict[str, Range]:
    """Return the thresholds of a model with the ranges in which they are searched."""
    largest = LARGEST_AREA * info.input_size[0] * info.input_size[1]
    return {
        name: PROB_RANGE if threshold.maximum <= 1 else (1.0, max(largest, 2.0), True)
        for name, threshold in info.thresholds.items()
    }


def tune(
    predictor: Predictor, samples: Sequence[Sample], database: Path, trials: int
) -> Iterator[Tuned]:
    """Search the thresholds with the best PQ; resume an interrupted search.

    Args:
        predictor: of the model.
        samples: labelled images; they are read once, and predicted in each trial.
        database: SQLite file of the trials.
        trials: total number, including those of earlier calls.

    Yields:
        The best thresholds so far; after each trial, and once for each trial of an earlier call.
    """
    import optuna

    space = space_of(predictor.info)
    start = {name: threshold.default for name, threshold in predictor.info.thresholds.items()}
    study = open_search(database, 'decoder', space, start)
    stages = [max(1, round(share * len(samples))) for share in PRUNED_AFTER]

    def objective(trial: optuna.Trial) -> float:
        drawn = Predictor(predictor.backend, predictor.info.with_thresholds(draw(trial, space)))
        quality = PanopticQuality(predictor.info.network_labels)
        for done, sample in enumerate(samples, 1):
            frame = drawn.predict(CameraImage(sample.image, 'rgb'))
            quality.update(pair_of(sample, frame, predictor.info.network_labels))
            if done in stages:
                trial.report(quality.compute().all.pq, done)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return quality.compute().all.pq

    for _ in run_trials(study, objective, trials):
        best = {name: rounded(value) for name, value in study.best_params.items()}
        yield Tuned(best, study.best_value)
