# SPDX-License-Identifier: Apache-2.0
"""Ablation studies: variants of one recipe that repeat a paper's table on a small budget."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.documents import read_json, read_yaml
from panoptic_ros.core.files import write_json
from panoptic_ros.core.text import did_you_mean, short
from panoptic_ros.metrics.registry import COLUMNS, Column

Command = Callable[[Sequence[str]], int]
"""The `panoptic` command line: arguments to exit status."""

METRICS = {**COLUMNS, 'oa': Column('overlap accuracy', ('overlap', 'accuracy'))}
"""Metrics that a study may report, by name."""


@dataclass(frozen=True)
class Variant:
    """Row of the table."""

    name: str

    set: Mapping[str, Any]
    """Recipe keys that the variant sets, as in `model.loss.loss: ae`."""

    paper: Mapping[str, float]
    """Scores that the paper reports, by metric, percent."""

    @property
    def folder(self) -> str:
        """Name of the variant's folder."""
        return '_'.join(''.join(c if c.isalnum() else ' ' for c in self.name.lower()).split())


@dataclass(frozen=True)
class Study:
    """Table of a paper, and the recipe and budget to repeat it."""

    title: str
    source: str
    recipe: str
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    budget: Mapping[str, Any] = field(default_factory=dict)
    """Recipe keys that all variants set."""

    limit: int | None = None
    """Number of validation images that are scored; None for all."""

    def __post_init__(self) -> None:
        if not self.variants or not self.seeds:
            raise ValueError('a study needs at least one variant and one seed')
        folders = [variant.folder for variant in self.variants]
        for folder in folders:
            if not folder or folders.count(folder) > 1:
                raise ValueError(f'each variant needs a name of its own, got {folder!r} twice')
        for variant in self.variants:
            unknown = sorted(set(variant.paper) - set(METRICS))
            if unknown:
                raise ValueError(
                    f'{variant.name}: unknown metric {unknown[0]!r}'
                    f'{did_you_mean(unknown[0], METRICS)}; the metrics are: {", ".join(METRICS)}'
                )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that the paper reports for any variant."""
        return tuple(name for name in METRICS if any(name in v.paper for v in self.variants))


@dataclass(frozen=True)
class StudyRun:
    """Training and evaluation of one variant with one seed."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def scores_file(self) -> Path:
        """File of the scores, which is written last: it exists only in finished runs."""
        return self.folder / 'scores.json'

    @property
    def settings_file(self) -> Path:
        """File of the settings that the run was started with."""
        return self.folder / 'settings.json'

    @property
    def checkpoint(self) -> Path:
        """Checkpoint of the training, to resume from."""
        return self.folder / 'checkpoints' / 'last.ckpt'


def load_study(path: Path) -> Study:
    """Read the YAML file of a study.

    Raises:
        ValueError: if the file is not a study.
    """
    values = read_yaml(path)
    if (
        not isinstance(values, dict)
        or not isinstance(values.get('variants'), list)
        or not all(isinstance(variant, dict) for variant in values['variants'])
    ):
        raise ValueError(
            f'{path} is not a study: expected title, source, recipe and variants, a '
            'list in which each has a name, and may have set and paper; got '
            f'{short(list(values) if isinstance(values, dict) else values)}'
        )
    try:
        variants = tuple(
            Variant(v['name'], v.get('set', {}), v.get('paper', {}))
            for v in values.pop('variants')
        )
        return Study(variants=variants, seeds=tuple(values.pop('seeds', (0,))), **values)
    except (AttributeError, KeyError, TypeError) as error:
        text = ' '.join(str(error).split())
        raise ValueError(f'{path} is not a study: {type(error).__name__}: {text}') from None


def runs_of(study: Study, folder: Path) -> Iterator[StudyRun]:
    """Yield all runs, seed by seed, so that an interrupted study has complete tables."""
    for seed in study.seeds:
        for variant in study.variants:
            yield StudyRun(variant, seed, folder / variant.folder / f'seed{seed}')


def execute(study: Study, run: StudyRun, recipe: Path, command: Command) -> None:
    """Train and evaluate one run; resume if an earlier attempt was interrupted.

    The output goes to `train.log` in the run's folder.

    Args:
        study: the study.
        run: one of its runs.
        recipe: recipe of the study.
        command: the `panoptic` command line, which is called in new processes.

    Raises:
        ChildProcessError: if training or evaluation fails; with the last line of its output.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(settings_of(study, run, recipe), run.settings_file)
    keys = {**keys_of(study, run), 'trainer.default_root_dir': str(run.folder)}
    # A run killed right after its first best.ckpt has no last.ckpt to resume from.
    start = '--ckpt_path=last' if run.checkpoint.is_file() else '--overwrite=true'
    _panoptic(
        command,
        run,
        [
            'train',
            f'--config={recipe}',
            start,
            *(f'--{key}={_as_flag(value)}' for key, value in keys.items()),
        ],
    )
    data = read_yaml(recipe)['data']['dataset']
    unfinished = run.scores_file.with_suffix('.part')
    _panoptic(
        command,
        run,
        [
            'evaluate',
            f'--model={run.checkpoint}',
            f'--data={keys.get("data.dataset", data)}',
            f'--json={unfinished}',
            *([f'--limit={study.limit}'] if study.limit else []),
        ],
    )
    unfinished.replace(run.scores_file)


def keys_of(study: Study, run: StudyRun) -> dict[str, Any]:
    """Return the recipe keys that a run sets."""
    return {**study.budget, **run.variant.set, 'seed_everything': run.seed}


def settings_of(study: Study, run: StudyRun, recipe: Path) -> dict[str, Any]:
    """Return all settings that determine a run's scores, as plain values."""
    values = {'recipe': read_yaml(recipe), 'keys': keys_of(study, run), 'limit': study.limit}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def require_same_settings(study: Study, run: StudyRun, recipe: Path) -> None:
    """Refuse to continue a run of an earlier version of the study.

    Raises:
        ValueError: if the run was started with other settings.
    """
    if run.settings_file.is_file() and settings_of(study, run, recipe) != read_json(
        run.settings_file
    ):
        raise ValueError(
            f'{run.folder} was started with another recipe, budget or switch; give '
            'another folder with -o, or remove this one'
        )


def _as_flag(value: Any) -> str:
    """Return a value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _panoptic(command: Command, run: StudyRun, words: list[str]) -> None:
    """Call the command line in a new process, which imports the program that was started.

    So a program that registers its own families and then calls the command line, such as
    examples/own_family.py, has them in the new process too.
    """
    log = run.folder / 'train.log'
    process = get_context('spawn').Process(target=_run_logged, args=(command, words, log))
    process.start()
    process.join()
    if process.exitcode:
        last = log.read_text(encoding='utf-8').strip().rpartition('\n')[2]
        raise ChildProcessError(
            f'{run.variant.name}, seed {run.seed}: {words[0]} failed: {last} (see {log})'
        )


def _run_logged(command: Command, words: list[str], log: Path) -> None:
    """Call the command line and append its output to a log; the target of a new process."""
    with log.open('ab') as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    os.environ['COLUMNS'] = '200'
    sys.argv[1:] = words  # Lightning starts the processes of several devices by these
    sys.exit(command(words))


def read_scores(run: StudyRun) -> dict[str, float]:
    """Return the scores of a finished run by metric, percent."""
    values = read_json(run.scores_file)
    found = {name: column.read(values) for name, column in METRICS.items()}
    return {name: value for name, value in found.items() if value is not None}


def collect(study: Study, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return scores by variant name and metric, one for each finished seed."""
    found: dict[str, dict[str, list[float]]] = {
        variant.name: {name: [] for name in study.metrics} for variant in study.variants
    }
    for run in runs_of(study, folder):
        if run.scores_file.is_file():
            for name, value in read_scores(run).items():
                if name in study.metrics:
                    found[run.variant.name][name].append(value)
    return found


def rank_agreement(paper: Sequence[float], ours: Sequence[float]) -> float:
    """Return Kendall's tau-b of two columns: 1 if they agree on the order, NaN below two rows."""
    from scipy.stats import kendalltau

    return float(kendalltau(paper, ours).statistic) if len(paper) > 1 else math.nan


def agreements(
    study: Study, scores: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, float]:
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
