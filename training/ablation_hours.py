# SPDX-License-Identifier: Apache-2.0
"""Estimate of the hours of an ablation study, before it starts."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_yaml

from .ablation import (
    Command,
    Study,
    StudyRun,
    keys_of,
    model_words,
    panoptic,
    read_hours,
    training_words,
)

STEPS, IMAGES = (2, 10), (1, 9)
"""Steps of two short trainings and images of two short evaluations. Their difference is the time
of a step and of an image, without that of starting."""


def hours_of_run(
    study: Study, runs: Sequence[StudyRun], folder: Path, recipe: Path, command: Command
) -> float | None:
    """Return the hours on the clock that one run takes on this machine, roughly.

    They are the mean of the finished runs; without any, the first missing run is measured in short
    (about a minute) and extrapolated. The search of thresholds then counts as if no trial ended
    early; images without a limit are not counted.

    Args:
        study: the study.
        runs: its runs, at least one of them not finished.
        folder: folder of the study.
        recipe: recipe of the study.
        command: the `panoptic` command line.

    Returns:
        None for a training that ends by neither steps nor time.

    Raises:
        ChildProcessError: if a command fails.
    """
    known = [read_hours(run).wall for run in runs if run.scores_file.is_file()]
    known = [hours for hours in known if hours]
    if known:
        return sum(known) / len(known)
    first = next(run for run in runs if not run.scores_file.is_file())
    probe = replace(first, folder=folder / 'estimate')
    shutil.rmtree(probe.folder, ignore_errors=True)
    probe.folder.mkdir(parents=True)

    def train(steps: int) -> None:
        short = {'trainer.max_steps': steps, 'trainer.val_check_interval': steps + 1}
        words = training_words(study, probe, recipe, **short)
        panoptic(command, probe, [*words, '--overwrite=true'])

    def evaluate(images: int) -> None:
        model = model_words(study, probe, recipe)
        panoptic(command, probe, ['evaluate', *model, f'--limit={images}'])

    train_s = _seconds(train, STEPS)
    evaluate_s = _seconds(evaluate, IMAGES)
    shutil.rmtree(probe.folder)
    trainer = {f'trainer.{key}': value for key, value in read_yaml(recipe)['trainer'].items()}
    keys = {**trainer, **keys_of(study, first)}
    budgets = []
    if (steps := keys.get('trainer.max_steps') or -1) > 0:
        budgets.append(train_s(steps))
    if limit := keys.get('trainer.max_time'):
        budgets.append(_duration_s(limit))
    if not budgets:
        return None
    tuning_s = evaluate_s(study.tune_trials * (study.tune_limit or 0)) if study.tune_trials else 0
    return (min(budgets) + tuning_s + evaluate_s(study.limit or 0)) / 3600


def _seconds(work: Callable[[int], None], sizes: tuple[int, int]) -> Callable[[int], float]:
    """Do work of two sizes, and return the function of a size that gives the time it takes, s."""
    times = []
    for size in sizes:
        begin = time.monotonic()
        work(size)
        times.append(time.monotonic() - begin)
    per_piece = max(times[1] - times[0], 0) / (sizes[1] - sizes[0])
    return lambda size: times[0] + max(size - sizes[0], 0) * per_piece


def _duration_s(text: Any) -> float:
    """Return the seconds of `DD:HH:MM:SS`."""
    days, hours, minutes, seconds = map(int, str(text).split(':'))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
