# SPDX-License-Identifier: Apache-2.0
"""Search of settings by Optuna, in a database from which it resumes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from optuna import Study, Trial

Range = tuple[float, float, bool]
"""Least and greatest value, and whether the scale is logarithmic."""


def open_search(
    database: Path, name: str, space: Mapping[str, Range], start: Mapping[str, float]
) -> 'Study':
    """Open a search for the largest value by a tree-structured Parzen estimator.

    Trials whose intermediate values are low are pruned.

    Args:
        database: SQLite file of the trials; one that exists is continued.
        name: name of the search.
        space: settings with their ranges.
        start: settings that a new search tries first, moved into the ranges.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f'sqlite:///{database}',
        study_name=name,
        load_if_exists=True,
        direction='maximize',
        pruner=optuna.pruners.PercentilePruner(40, n_startup_trials=12),
    )
    # A search that resumes must not draw its first settings again.
    study.sampler = optuna.samplers.TPESampler(
        multivariate=True, n_startup_trials=25, seed=len(study.trials)
    )
    if not study.trials:
        study.enqueue_trial(
            {key: float(np.clip(start[key], low, high)) for key, (low, high, _) in space.items()}
        )
    return study


def draw(
    trial: 'Trial', space: Mapping[str, Range], stored_names: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Return the settings of a trial, rounded.

    Args:
        trial: the trial.
        space: settings with their ranges.
        stored_names: names in the database, where they differ.
    """
    return {
        key: rounded(trial.suggest_float((stored_names or {}).get(key, key), low, high, log=log))
        for key, (low, high, log) in space.items()
    }


def run_trials(
    study: 'Study', objective: Callable[['Trial'], float], trials: int
) -> Iterator[None]:
    """Run the trials that are missing; yield after each, and once for each earlier trial."""
    for number in range(trials):
        if number >= len(study.trials) or not study.trials[number].state.is_finished():
            study.optimize(objective, n_trials=1)
        yield


def rounded(value: float) -> float:
    """Return a value rounded to three significant digits."""
    return float(f'{value:.3g}')
