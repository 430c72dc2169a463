# SPDX-License-Identifier: Apache-2.0
"""Predictions of an evaluation by several processes; one of them scores all afterwards.

Frames of a model are scored as they are read from disk, so the number of processes changes no
figure.
"""

import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from panoptic_ros.runtime.predictor import Predictor

from ..data.class_mapping import MappedClasses
from ..data.registry import open_reader
from .predictions import PredictionStore
from .predictor import open_predictor
from .run import Evaluation, model_source

SHARES = 'shares'
"""Folder of the predictions that are not collected yet, in that of the evaluation."""

POLL_S = 0.5

Parts = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Job:
    """What each process opens for itself."""

    data: str
    split: str
    model: Path
    backend: str = 'auto'
    device: str = 'auto'
    thresholds: dict[str, Any] = field(default_factory=dict)
    mapping: dict[str, str] = field(default_factory=dict)
    """Model class by data class; empty for data with the model's classes."""
    oracle: bool = False
    rate_hz: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Of the reader."""


def predict_shares(
    job: Job, evaluation: Evaluation, processes: int, folder: Path, progress: Callable[[int], None]
) -> None:
    """Predict the images of an evaluation that are not on disk, into its store.

    Args:
        job: the model and the data.
        evaluation: with a store; its parts are divided.
        processes: number of processes.
        folder: folder of the evaluation. It may hold shares of processes that were killed.
        progress: receives the number of images that are predicted.

    Raises:
        ValueError: if a process was killed, for example for lack of memory.
        OSError, BackendError: as raised in a process.
    """
    store, shares = evaluation.store, folder / SHARES
    assert store is not None
    collect(store, shares)
    work = divide(missing(evaluation), processes, bool(evaluation.rate_hz))
    context = multiprocessing.get_context('spawn')  # CUDA does not survive a fork
    done = len(store.annotations)
    with ProcessPoolExecutor(processes, context) as pool:
        futures: list[Future[None]] = [
            pool.submit(_predict, job, parts, shares / str(rank), rank, processes)
            for rank, parts in enumerate(work)
            if parts
        ]
        running = set(futures)
        while running:
            finished, running = wait(running, POLL_S, FIRST_EXCEPTION)
            progress(done + sum(1 for _ in shares.glob('*/predictions/[!.]*.png')))
            if any(future.exception() for future in finished):
                pool.shutdown(wait=False, cancel_futures=True)
                break
    collect(store, shares)
    for future in futures:
        if future.done() and isinstance(future.exception(), BrokenProcessPool):
            raise ValueError(
                'a process of the evaluation was killed, for example for lack of memory; its '
                'finished images are kept: give the same command again, with fewer --processes'
            )
        if future.done() and not future.cancelled():
            future.result()


def missing(evaluation: Evaluation) -> list[tuple[int, ...]]:
    """Return the parts of an evaluation without its stored images; clips remain complete."""
    store = evaluation.store
    assert store is not None
    if evaluation.rate_hz:
        return [part for part in evaluation.parts if any(index not in store for index in part)]
    return [tuple(index for index in part if index not in store) for part in evaluation.parts]


def divide(parts: Parts, processes: int, whole: bool) -> list[list[tuple[int, ...]]]:
    """Divide parts among processes.

    Args:
        parts: indices of images.
        processes: number of processes.
        whole: whether a part goes to one process, as a clip whose things are tracked.

    Returns:
        The parts of each process, which together have each image once.
    """
    if whole:
        return [list(parts[rank::processes]) for rank in range(processes)]
    indices = [index for part in parts for index in part]
    shares = [tuple(indices[rank::processes]) for rank in range(processes)]
    return [[share] if share else [] for share in shares]


def collect(store: PredictionStore, shares: Path) -> None:
    """Move the predictions of all shares into a store, and remove the shares."""
    for folder in sorted(shares.glob('*')):
        store.take(PredictionStore(folder, store.labels, store.ids, store.names))
    if shares.exists():
        store.save()
        shutil.rmtree(shares)


def _predict(job: Job, parts: Parts, folder: Path, rank: int, processes: int) -> None:
    """Predict the images of one process; runs in that process."""
    _take_cores(rank, processes)
    device = job.device
    if device in ('auto', 'cuda') and torch.cuda.device_count() > 1:
        device = f'cuda:{rank % torch.cuda.device_count()}'
    predictor = open_predictor(job.model, job.backend, device)
    if job.thresholds:
        predictor = Predictor(predictor.backend, predictor.info.with_thresholds(job.thresholds))
    reader = open_reader(job.data, job.split, **job.options)
    if job.mapping:
        reader = MappedClasses(reader, predictor.info.network_labels, job.mapping)
    source = model_source(predictor, job.oracle)
    evaluation = Evaluation(reader, source, rate_hz=job.rate_hz)
    evaluation.parts = tuple(parts)
    evaluation.store = PredictionStore(folder, reader.labels, reader.image_ids, reader.image_names)
    evaluation.predict()


def _take_cores(rank: int, processes: int) -> None:
    """Limit this process to its share of the CPU cores, if there is one for each."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= processes:
        os.sched_setaffinity(0, cores[rank::processes])
        torch.set_num_threads(len(cores[rank::processes]))
