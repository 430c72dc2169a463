# SPDX-License-Identifier: Apache-2.0
"""Studies that repeat a paper's ablation table on a small budget: variants of one recipe."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.documents import read_json, read_yaml
from panoptic_ros.core.files import write_json
from panoptic_ros.metrics.registry import COLUMNS, Column

METRICS = {**COLUMNS, 'oa': Column('overlap accuracy', ('overlap', 'accuracy'))}
"""Metrics that a study may report, by name."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str

    set: Mapping[str, Any]
    """Values by recipe key, as in `model.loss.loss: ae`."""

    paper: Mapping[str, float]
    """What the paper reports, by metric, percent."""

    @property
    def folder(self) -> str:
        """The name as a folder's."""
        return '_'.join(''.join(c if c.isalnum() else ' ' for c in self.name.lower()).split())


@dataclass(frozen=True)
class Study:
    """A paper's table, and the recipe and budget that it is repeated with."""

    title: str
    source: str
    recipe: str
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    budget: Mapping[str, Any] = field(default_factory=dict)
    """Values by recipe key that all variants share."""

    limit: int | None = None
    """Validation images that are scored; None for all."""

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
                    f'{variant.name}: unknown metric {unknown[0]!r}; the metrics '
                    f'are: {", ".join(METRICS)}'
                )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those that the paper reports of any variant."""
        return tuple(name for name in METRICS if any(name in v.paper for v in self.variants))


@dataclass(frozen=True)
class Run:
    """One training of a study."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def scores_file(self) -> Path:
        """Written last; a run that has it is done."""
        return self.folder / 'scores.json'

    @property
    def settings_file(self) -> Path:
        """What the run was started with."""
        return self.folder / 'settings.json'

    @property
    def checkpoint(self) -> Path:
        """Where the training leaves its state."""
        return self.folder / 'checkpoints' / 'last.ckpt'


def load_study(path: Path) -> Study:
    """Reads a study's YAML file.

    Raises:
        ValueError: in one line, if it is not one.
    """
    values = read_yaml(path)
    if (
        not isinstance(values, dict)
        or not isinstance(values.get('variants'), list)
        or not all(isinstance(variant, dict) for variant in values['variants'])
    ):
        raise ValueError(
            f'{path} is not a study: expected title, source, recipe and variants, a '
            'list in which each has a name, and may have set and paper'
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


def runs_of(study: Study, folder: Path) -> Iterator[Run]:
    """All runs, seed by seed, so that a study that is stopped has whole tables."""
    for seed in study.seeds:
        for variant in study.variants:
            yield Run(variant, seed, folder / variant.folder / f'seed{seed}')


def execute(study: Study, run: Run, recipe: Path) -> None:
    """Trains and scores one run; goes on where an earlier attempt was stopped.

    Its output goes to `train.log` in the run's folder.

    Raises:
        ChildProcessError: if a command fails, with its last line.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(settings_of(study, run, recipe), run.settings_file)
    keys = {**keys_of(study, run), 'trainer.default_root_dir': str(run.folder)}
    # A run killed right after its first best.ckpt has no last.ckpt to resume from.
    start = '--ckpt_path=last' if run.checkpoint.is_file() else '--overwrite=true'
    _panoptic(
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


def keys_of(study: Study, run: Run) -> dict[str, Any]:
    """What a run sets in the recipe, by key."""
    return {**study.budget, **run.variant.set, 'seed_everything': run.seed}


def settings_of(study: Study, run: Run, recipe: Path) -> dict[str, Any]:
    """All that a run's scores follow from, as plain values."""
    values = {'recipe': read_yaml(recipe), 'keys': keys_of(study, run), 'limit': study.limit}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def require_same_settings(study: Study, run: Run, recipe: Path) -> None:
    """Refuses to mix what an earlier version of a study left with this one.

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
    return value if isinstance(value, str) else json.dumps(value)


def _panoptic(run: Run, words: list[str]) -> None:
    log = run.folder / 'train.log'
    with log.open('a', encoding='utf-8') as output:
        done = subprocess.run(
            [sys.executable, '-m', 'panoptic_ros.cli.main', *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, 'COLUMNS': '200'},
        )
    if done.returncode:
        last = log.read_text(encoding='utf-8').strip().rpartition('\n')[2]
        raise ChildProcessError(
            f'{run.variant.name}, seed {run.seed}: {words[0]} failed: {last} (see {log})'
        )


def read_scores(run: Run) -> dict[str, float]:
    """Scores of a finished run by metric, percent."""
    values = read_json(run.scores_file)
    found = {name: column.read(values) for name, column in METRICS.items()}
    return {name: value for name, value in found.items() if value is not None}


def collect(study: Study, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Scores by variant's name and metric, one for each finished seed."""
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
    """Kendall's tau-b of two columns, -1 to 1: 1 where they order all rows alike; NaN below 2."""
    from scipy.stats import kendalltau

    return float(kendalltau(paper, ours).statistic) if len(paper) > 1 else math.nan


def agreements(
    study: Study, scores: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, float]:
    """Rank agreement of each metric, over the variants that have both columns."""
    result = {}
    for name in study.metrics:
        pairs = [
            (v.paper[name], float(np.mean(scores[v.name][name])))
            for v in study.variants
            if name in v.paper and scores[v.name][name]
        ]
        result[name] = rank_agreement(*zip(*pairs, strict=True)) if pairs else math.nan
    return result
