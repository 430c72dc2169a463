# SPDX-License-Identifier: Apache-2.0
"""Replay of one recording of a suite, in any process on any machine."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

import cv2

from panoptic_ros.core.files import FolderInUseError, lock_folder, write_bytes, write_json
from panoptic_ros.core.stores import is_url
from panoptic_ros.core.text import reason_of
from panoptic_ros.replay.run import ReplayResult
from panoptic_ros.replay.session import Session
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.suite.fetch import local_copy
from panoptic_ros.suite.latency import count_latencies
from panoptic_ros.suite.task import DONE, FAILED, FETCHED, SETTINGS, WORST, Task

T = TypeVar('T')

WAIT_S = 60.0
"""Time to wait for a folder that a worker holds whose machine is about to be given up, s."""

WORST_FRAMES = 3
"""Frames of a recording that may be among the worst of the suite."""


def replay_recording(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replay a recording, and write its results and its outcome.

    Errors of the recording, the model or the machine are an outcome too.

    Args:
        values: of `Task.to_dict`.

    Returns:
        `name`, `status`, `error` and `images` of the outcome.

    Raises:
        OSError: if the outcome cannot be written.
    """
    task = Task.from_dict(values)
    cv2.setNumThreads(task.threads)
    start_s = time.monotonic()
    outcome: dict[str, Any] = {'status': FAILED, 'error': '', 'key': task.key()}
    try:
        outcome |= _replay(task)
        outcome['status'] = DONE
    except (ValueError, OSError, BackendError, ChildProcessError) as error:
        outcome['error'] = reason_of(error)
    except Exception as error:  # one recording must not end the suite
        outcome['error'] = f'internal error, {type(error).__name__}: {reason_of(error)}'
    timing = outcome.setdefault('timing', {})
    timing |= {'seconds': round(time.monotonic() - start_s, 3), 'host': socket.gethostname()}
    write_outcome(task, outcome)
    images = outcome['summary']['frames']['replayed'] if outcome['status'] == DONE else 0
    return {
        'name': task.name,
        'status': outcome['status'],
        'error': outcome['error'],
        'images': images,
    }


def write_outcome(task: Task, outcome: Mapping[str, Any]) -> None:
    """Write the outcome of a task."""
    task.outcome_file.parent.mkdir(exist_ok=True)
    write_json(outcome, task.outcome_file)


def _replay(task: Task) -> dict[str, Any]:
    """Return the parts of the outcome of a replay."""
    host = socket.gethostname()
    if not (Path(task.results) / SETTINGS).is_file():
        raise FileNotFoundError(
            f'{host} does not see the results {task.results}; put them where all workers see them'
        )
    if not Path(task.model).is_file():
        raise FileNotFoundError(
            f'{host} has no model file {task.model}; put it where all workers see it'
        )
    with ExitStack() as stack:
        path = _local_path(task, stack)
        _enter_patiently(stack, lambda: lock_folder(task.folder, 'replay'))
        session = Session(
            path,
            Path(task.model),
            Path(task.config) if task.config else None,
            task.recording.cameras,
            task.recording.ground_truth,
            threads=task.threads,
            on_cpu=task.on_cpu,
        )
        if session.loaded.file_hash != task.model_hash:
            raise ValueError(
                f'{host} has another model file {task.model}, with hash '
                f'{session.loaded.file_hash} instead of {task.model_hash}'
            )
        summary, result = _run(task, session)
    summary = dict(summary)
    rate_hz = {'rate_hz': summary.pop('timing')['rate_hz']}
    latencies = count_latencies(r.times_ms['total'] for r in result.records if r.times_ms)
    return {
        'summary': summary,
        'worst': _write_worst(task, result),
        'timing': {**rate_hz, 'latency': latencies},
    }


def _run(task: Task, session: Session) -> tuple[dict[str, Any], ReplayResult]:
    def quiet(line: str) -> None:
        pass

    if task.rate is None:
        return session.replay(task.folder, iter, quiet)
    from panoptic_ros.ros.replay_live import run_live

    config = Path(task.config) if task.config else None
    return run_live(session, config, task.folder, task.rate, iter, quiet)


def _local_path(task: Task, stack: ExitStack) -> Path:
    """Return the path of the recording on this machine; a copy remains until the stack ends."""
    path = task.recording.path
    if not is_url(path):
        return Path(path)
    folder = Path(task.results) / FETCHED / task.name
    return _enter_patiently(stack, lambda: local_copy(path, folder, task.fetch_gb))


def _enter_patiently(stack: ExitStack, lock: Callable[[], AbstractContextManager[T]]) -> T:
    """Enter a context that locks a folder, which the worker of a lost machine may still hold."""
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            return stack.enter_context(lock())
        except FolderInUseError:
            if time.monotonic() > end_s:
                raise
        time.sleep(0.5)


def _write_worst(task: Task, result: ReplayResult) -> list[dict[str, Any]]:
    """Write the pictures of the worst frames, and return what is known of each."""
    folder = Path(task.results) / WORST
    folder.mkdir(exist_ok=True)
    frames = []
    for number, candidate in enumerate(result.worst.chosen()[:WORST_FRAMES]):
        record, files = candidate.record, []
        for what, jpeg in (('', candidate.overlay), ('_gt', candidate.ground_truth)):
            if jpeg:
                files.append(f'{task.name}_{number}{what}.jpg')
                write_bytes(jpeg, folder / files[-1])
        frames.append(
            {
                'badness': candidate.badness,
                'camera': record.camera,
                'index': record.index,
                'stamp_ns': record.stamp_ns,
                'seconds': record.seconds(result.records),
                'pq': record.pq,
                'confidence': record.confidence,
                'files': files,
            }
        )
    return frames
