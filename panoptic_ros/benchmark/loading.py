# SPDX-License-Identifier: Apache-2.0
"""Images per second that a data-loading process delivers, against those that a training takes."""

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from panoptic_ros.core.text import one_line

CPU_BATCH = 2
"""Most images in a step on the CPU, where the batches of the recipes do not fit."""

WARM_UP = 2
"""Batches and steps before those that are timed."""


@dataclass(frozen=True)
class LoadingTimes:
    """Rates of a recipe, or why there are none."""

    recipe: str
    device: str = ''
    batch: int = 0
    """Images in a step."""
    worker_hz: float = math.nan
    """Images per second of one loading process."""
    model_hz: float = math.nan
    """Images per second that training steps take."""
    problem: str = ''

    @property
    def workers(self) -> int | None:
        """Smallest `data.num_workers` with which the model does not wait; None if unknown."""
        if math.isnan(self.worker_hz) or math.isnan(self.model_hz):
            return None
        return math.ceil(self.model_hz / self.worker_hz)


def time_loading(name: str, path: Path, seconds: float) -> LoadingTimes:
    """Time the loading of a recipe's images by one process, and its training steps.

    Args:
        name: of the recipe, for the table.
        path: the recipe.
        seconds: for each of the two.

    Returns:
        The rates; `problem` says why there are none, as a data set that is not there.
    """
    import torch

    from panoptic_training.trainer.quiet import quiet_libraries
    from panoptic_training.trainer.recipe import make_cli

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            'data.num_workers': '1',
            'model.init_weights': 'null',
            'trainer.accelerator': 'gpu' if device == 'cuda' else 'cpu',
            'trainer.default_root_dir': folder,
            'trainer.devices': '1',
            'trainer.logger': 'false',
            'trainer.strategy': 'auto',
        }
        words = [word for key, value in flags.items() for word in (f'--{key}', value)]
        try:
            with quiet_libraries():
                cli = make_cli(['--config', str(path), *words])
            batches = iter(cli.datamodule.train_dataloader())
            worker_hz, batch = _worker_rate(batches, seconds)
        except (OSError, ValueError) as error:
            return LoadingTimes(name, device, problem=one_line(error))
        if device == 'cpu':
            clip = (cli.config.model.loss or {}).get('clip_images', 1)
            batch = batch._make(None if x is None else x[: max(CPU_BATCH, clip)] for x in batch)
        model_hz = _model_rate(cli, batch, device, seconds)
    return LoadingTimes(name, device, len(batch.image), worker_hz, model_hz)


def _worker_rate(batches: Iterator[Any], seconds: float) -> tuple[float, Any]:
    """Return the images per second of a loader's process, and a batch."""
    for _ in range(WARM_UP):
        batch = next(batches)
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < seconds:
        following = next(batches, None)
        if following is None:  # the end of a small epoch
            break
        batch = following
        count += len(batch.image)
    if not count:
        raise ValueError(f'the data set has {WARM_UP} batches, too few to time them')
    return count / (time.perf_counter() - start), batch


def _model_rate(cli: Any, batch: Any, device: str, seconds: float) -> float:
    """Return the images per second of training steps: loss, gradients, optimiser."""
    import torch

    module = cli.model.to(device).train()
    optimizer = module.configure_optimizers()
    batch = batch._make(None if x is None else x.to(device) for x in batch)
    image = batch.image.contiguous(memory_format=torch.channels_last)
    batch = batch._replace(image=image)
    module.model.on_step(0.0)

    def step() -> None:
        with cli.trainer.precision_plugin.forward_context():
            terms = module.loss(module.model, batch, module.hparams['loss_stride'])
        optimizer.zero_grad()
        terms['loss'].backward()
        optimizer.step()
        if device == 'cuda':
            torch.cuda.synchronize()

    for _ in range(WARM_UP if device == 'cuda' else 1):
        step()
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < seconds:
        step()
        count += 1
    return count * len(image) / (time.perf_counter() - start)


def loading_table(times: list[LoadingTimes]) -> Table:
    """Make a table with a row per recipe."""
    result = Table(
        title='images per second', title_justify='left', box=box.SIMPLE_HEAD, pad_edge=False
    )
    result.add_column('recipe', no_wrap=True)
    for heading in ('one worker', 'model', 'batch', 'device', 'workers needed'):
        result.add_column(heading, justify='right')
    for one in times:
        if one.problem:
            result.add_row(one.recipe, one.problem)
            continue
        result.add_row(
            one.recipe,
            f'{one.worker_hz:.1f}',
            f'{one.model_hz:.1f}',
            str(one.batch),
            one.device,
            str(one.workers),
        )
    return result


def loading_records(times: list[LoadingTimes]) -> list[dict[str, Any]]:
    """Return a record for each recipe; what is not known is None."""
    return [
        {
            'recipe': one.recipe,
            'device': one.device,
            'batch': one.batch or None,
            'worker_hz': None if math.isnan(one.worker_hz) else round(one.worker_hz, 3),
            'model_hz': None if math.isnan(one.model_hz) else round(one.model_hz, 3),
            'workers': one.workers,
            'problem': one.problem,
        }
        for one in times
    ]
