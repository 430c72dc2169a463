# SPDX-License-Identifier: Apache-2.0
"""Ablation studies: variants of one recipe that repeat a paper's table on a small budget."""

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from panoptic_ros.core.documents import read_json, read_yaml
from panoptic_ros.core.files import write_json
from panoptic_ros.core.text import did_you_mean, short
from panoptic_ros.metrics.registry import COLUMNS, Column

Command = Callable[[Sequence[str]], int]
"""The `panoptic` command line: arguments to exit status."""

DELTA = 'delta'
"""Metric that is the sum of the gains in all other metrics of a study over its base."""

METRICS = {
    **COLUMNS,
    'oa': Column('overlap accuracy', ('overlap', 'accuracy')),
    DELTA: Column('sum of the gains', (DELTA,)),
}
"""Metrics that a study may report, by name."""

SEEDS = (0, 1, 2)
"""Seeds of a study that names none."""

TUNED_IMAGES, SCORED_IMAGES = '::2', '1::2'
"""Images of the validation split on which decoders are tuned, and those that are scored."""


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
    """Most images that are scored; None for all of SCORED_IMAGES."""

    tune_trials: int = 40
    """Trials of the search of each run's thresholds (`panoptic tune-decoder`); 0 for none."""

    tune_limit: int | None = 40
    """Most images of the search; None for all of TUNED_IMAGES."""

    base: str | None = None
    """Variant that DELTA is relative to."""

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
        names = [variant.name for variant in self.variants]
        if (self.base is not None or DELTA in self.metrics) and self.base not in names:
            raise ValueError(f'base must be one of {", ".join(names)}, got {self.base}')

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
    def hours_file(self) -> Path:
        """File of the hours that the run took, with those of interrupted attempts."""
        return self.folder / 'hours.json'

    @property
    def settings_file(self) -> Path:
        """File of the settings that the run was started with."""
        return self.folder / 'settings.json'

    @property
    def checkpoint(self) -> Path:
        """Checkpoint of the training, to resume from."""
        return self.folder / 'checkpoints' / 'last.ckpt'


class Hours(NamedTuple):
    """Time that the commands of a run took, with those of interrupted attempts."""

    wall: float = 0.0
    """Hours on the clock."""

    core: float = 0.0
    """Hours of processor time, over all cores."""


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
        return Study(variants=variants, seeds=tuple(values.pop('seeds', SEEDS)), **values)
    except (AttributeError, KeyError, TypeError) as error:
        text = ' '.join(str(error).split())
        raise ValueError(f'{path} is not a study: {type(error).__name__}: {text}') from None


def runs_of(study: Study, folder: Path) -> Iterator[StudyRun]:
    """Yield all runs, seed by seed, so that an interrupted study has complete tables."""
    for seed in study.seeds:
        for variant in study.variants:
            yield StudyRun(variant, seed, folder / variant.folder / f'seed{seed}')


def execute(study: Study, run: StudyRun, recipe: Path, command: Command) -> None:
    """Train, tune and evaluate one run; resume if an earlier attempt was interrupted.

    The decoder of each run is tuned on other images than those that are scored. The output goes to
    `train.log` in the run's folder, the hours to `hours.json`.

    Args:
        study: the study.
        run: one of its runs.
        recipe: recipe of the study.
        command: the `panoptic` command line, which is called in new processes.

    Raises:
        ChildProcessError: if a command fails; with the last line of its output.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(settings_of(study, run, recipe), run.settings_file)
    tuned, start = run.folder / 'tuned', '--ckpt_path=last'
    # A run killed right after its first best.ckpt has no last.ckpt to resume from.
    if not run.checkpoint.is_file():
        start = '--overwrite=true'
        shutil.rmtree(tuned, ignore_errors=True)  # a search on another checkpoint
    with _timed(run):
        panoptic(command, run, [*training_words(study, run, recipe), start])
    model, thresholds = model_words(study, run, recipe), []
    if study.tune_trials:
        words = [f'--images={TUNED_IMAGES}', *_limit(study.tune_limit)]
        words += [f'--trials={study.tune_trials}', f'--output={tuned}']
        with _timed(run):
            panoptic(command, run, ['tune-decoder', *model, *words])
        found = read_json(tuned / 'thresholds.json')['thresholds']
        thresholds = ['--set', *(f'{name}={value}' for name, value in found.items())]
    unfinished = run.scores_file.with_suffix('.part')
    words = [f'--images={SCORED_IMAGES}', *_limit(study.limit), f'--json={unfinished}']
    with _timed(run):
        panoptic(command, run, ['evaluate', *model, *words, *thresholds])
    unfinished.replace(run.scores_file)


def training_words(study: Study, run: StudyRun, recipe: Path, **more: Any) -> list[str]:
    """Return the command that trains a run, with further recipe keys by name."""
    keys = {**keys_of(study, run), 'trainer.default_root_dir': str(run.folder), **more}
    return [
        'train',
        f'--config={recipe}',
        *(f'--{key}={_as_flag(value)}' for key, value in keys.items()),
    ]


def model_words(study: Study, run: StudyRun, recipe: Path) -> list[str]:
    """Return the flags that name the model of a run and its data."""
    data = keys_of(study, run).get('data.dataset', read_yaml(recipe)['data']['dataset'])
    return [f'--model={run.checkpoint}', f'--data={data}']


def _limit(images: int | None) -> list[str]:
    return [f'--limit={images}'] if images else []


def keys_of(study: Study, run: StudyRun) -> dict[str, Any]:
    """Return the recipe keys that a run sets."""
    return {**study.budget, **run.variant.set, 'seed_everything': run.seed}


def settings_of(study: Study, run: StudyRun, recipe: Path) -> dict[str, Any]:
    """Return all settings that determine a run's scores, as plain values."""
    values = {
        'recipe': read_yaml(recipe),
        'keys': keys_of(study, run),
        'limit': study.limit,
        'tune_trials': study.tune_trials,
        'tune_limit': study.tune_limit,
    }
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


def panoptic(command: Command, run: StudyRun, words: list[str]) -> None:
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


def read_hours(run: StudyRun) -> Hours:
    """Return the time that a run took so far; zeros for a run of an earlier version."""
    return Hours(**read_json(run.hours_file)) if run.hours_file.is_file() else Hours()


@contextmanager
def _timed(run: StudyRun) -> Iterator[None]:
    """Add the time of a step to the file of the run's hours, also if the step fails."""
    begin, core_begin = time.monotonic(), _core_s_of_children()
    try:
        yield
    finally:
        earlier = read_hours(run)
        wall = earlier.wall + (time.monotonic() - begin) / 3600
        core = earlier.core + (_core_s_of_children() - core_begin) / 3600
        write_json(Hours(wall, core)._asdict(), run.hours_file)


def _core_s_of_children() -> float:
    """Return the processor time of all processes that were started and have ended, s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run_logged(command: Command, words: list[str], log: Path) -> None:
    """Call the command line and append its output to a log; the target of a new process."""
    with log.open('ab') as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    os.environ['COLUMNS'] = '200'
    sys.argv[1:] = words  # Lightning starts the processes of several devices by these
    sys.exit(command(words))
