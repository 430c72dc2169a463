# SPDX-License-Identifier: Apache-2.0
"""Interface of executors, which run tasks in other processes, and what each task is given."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from panoptic_ros.suite.task import Task

TRIES = 3
"""How often a recording is replayed whose worker ends without an outcome."""

Ended = tuple[Task, dict[str, Any] | None]
"""A task with what `replay_recording` returned; None if its workers were lost TRIES times."""


@dataclass(frozen=True)
class Needs:
    """What a task occupies while it runs."""

    cpus: int
    gpus: float
    memory_gb: float


Execute = Callable[[Iterable[Task], Needs], Iterator[Ended]]
"""Runs tasks, as many at a time as what they need allows; yields each as it ends."""
