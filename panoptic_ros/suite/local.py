# SPDX-License-Identifier: Apache-2.0
"""Execution of tasks in processes of this machine."""

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from panoptic_ros.suite.executor import TRIES, Ended, Needs
from panoptic_ros.suite.task import Task
from panoptic_ros.suite.worker import replay_recording


def execute_locally(
    tasks: Iterable[Task], needs: Needs, workers: int | None = None
) -> Iterator[Ended]:
    """Run tasks in processes of this machine; see `Execute`.

    If a process ends without an outcome, the tasks that ran at that time are run again one at a
    time, so that the one that ends its process cannot take others with it.

    Args:
        tasks: read as processes become free.
        needs: of each task.
        workers: number of processes; None is what `workers_for` returns.
    """
    count = workers_for(needs) if workers is None else workers
    rest = iter(tasks)
    while True:
        running: dict[Future[dict[str, Any]], Task] = {}
        try:
            with _pool(count) as pool:
                while True:
                    while len(running) <= count and (task := next(rest, None)) is not None:
                        try:
                            running[pool.submit(replay_recording, task.to_dict())] = task
                        except BrokenProcessPool:  # noqa: PERF203
                            rest = chain([task], rest)
                            raise
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future), result
        except BrokenProcessPool:
            for task in running.values():
                yield task, _run_alone(task)


def workers_for(needs: Needs) -> int:
    """Return how many tasks this machine can run at a time, at least 1.

    All of them use the GPU that the parameters name, so `gpus` is a share of that one.
    """
    limits = [
        len(os.sched_getaffinity(0)) // needs.cpus,
        int(_available_gb() / needs.memory_gb),
        *([int(1 / needs.gpus)] if needs.gpus else []),
    ]
    return max(1, min(limits))


def _available_gb() -> float:
    """Return the memory that is available, GB."""
    lines = Path('/proc/meminfo').read_text('ascii').splitlines()
    values = dict(line.split(':', 1) for line in lines)
    return int(values['MemAvailable'].split()[0]) * 1024 / 1e9


def _run_alone(task: Task) -> dict[str, Any] | None:
    for _ in range(TRIES - 1):  # it has run once with others
        with _pool(1) as pool:
            try:
                return pool.submit(replay_recording, task.to_dict()).result()
            except BrokenProcessPool:
                pass
    return None


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes, which are ended if the block ends by an exception."""
    pool = ProcessPoolExecutor(count, get_context('spawn'), _end_with_parent)
    try:
        yield pool
    except BaseException:  # Ctrl-C, or the consumer of the results has stopped
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _end_with_parent() -> None:
    """End this process when its parent does, even if that is killed."""

    def watch() -> None:
        parent = parent_process()
        assert parent
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
