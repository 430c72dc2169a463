# SPDX-License-Identifier: Apache-2.0
"""Run of a suite: every recording replayed, results merged, tables and page written."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import write_bytes, write_json
from panoptic_ros.core.model_file import file_hash, read_info
from panoptic_ros.core.progress import LINE_EVERY_S, Progress
from panoptic_ros.core.resources import default_model
from panoptic_ros.core.result_folder import open_result_folder
from panoptic_ros.core.text import counted
from panoptic_ros.core.version import __version__
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.parameters import PARAMETERS
from panoptic_ros.suite.executor import TRIES, Execute, Needs
from panoptic_ros.suite.merge import merge_outcomes
from panoptic_ros.suite.page import write_page
from panoptic_ros.suite.suite_file import Suite
from panoptic_ros.suite.table import write_table
from panoptic_ros.suite.task import DONE, FAILED, LINES, LOG, PAGE, SETTINGS, SUMMARY, TABLE, Task
from panoptic_ros.suite.task import read_outcome as read
from panoptic_ros.suite.worker import write_outcome


def run_suite(
    suite: Suite, results: Path, execute: Execute, rate: float | None = None
) -> dict[str, Any]:
    """Replay every recording that has no results yet, and merge all results.

    Args:
        suite: what to replay.
        results: folder of the results; that of an earlier, interrupted run resumes. Recordings
            that failed are replayed again.
        execute: runs the tasks.
        rate: speed at which recordings are also played to the running node; None does not.

    Returns:
        The summary; see `merge_outcomes`.

    Raises:
        ValueError: if the folder holds results of something else, another process works in it,
            or model or parameters cannot be used.
        OSError: if a file cannot be read or written.
    """
    parameters = read_parameters(suite.config)
    model = suite.model or (Path(parameters['model'] or default_model()).expanduser())
    info, model_hash = read_info(model), file_hash(model)
    device = parameters['device']
    if device.startswith('cuda') and not suite.gpus:
        raise ValueError(
            f'the parameters name the device {device}, and the suite has gpus: 0; give gpus: 1'
        )
    mode = 'lock-step' if rate is None else f'live at {rate:g} times the speed'
    settings = {
        'suite': suite.name,
        'model': model_hash,
        'parameters': _changed(parameters),
        'mode': mode,
        'cpus': suite.cpus,
        'version': __version__,
    }
    results = results.absolute()
    with open_result_folder(results, settings, SETTINGS, 'suite'):
        tasks = [
            Task(
                recording,
                str(model.absolute()),
                model_hash,
                str(suite.config or ''),
                suite.cpus,
                not suite.gpus,
                rate,
                suite.fetch_gb,
                str(results),
            )
            for recording in suite.recordings
        ]
        waiting = [task for task in tasks if (read(task) or {}).get('status') != DONE]
        needs = Needs(suite.cpus, suite.gpus, suite.memory_gb)
        with _progress(results / LOG, len(tasks), len(tasks) - len(waiting)) as progress:
            _execute(waiting, execute, needs, progress)
        described = {'name': info.name, 'file': model.name, 'hash': model_hash}
        summary, rows = merge_outcomes(settings | {'model': described}, tasks)
        lines = ''.join(f'{json.dumps(row, allow_nan=False)}\n' for row in rows)
        write_bytes(lines.encode(), results / LINES)
        write_table(rows, results / TABLE)
        write_page(results / PAGE, summary, rows)
        write_json(summary, results / SUMMARY)
    return summary


def _changed(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that are not the defaults, as JSON stores them."""
    defaults = {parameter.name: parameter.default for parameter in PARAMETERS}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in parameters.items()
        if name != 'model' and (name not in defaults or value != defaults[name])
    }


class _Progress:
    """Progress on standard error, and in a file that can be followed from elsewhere."""

    def __init__(self, shown: Progress, log: Path) -> None:
        self._shown, self._log, self._written_s = shown, log, 0.0
        self._images = self._failed = 0

    def add(self, status: str, images: int) -> None:
        self._images += images
        self._failed += status == FAILED
        notes = [counted(self._images, 'image')]
        if self._failed:
            notes.append(f'{self._failed} failed')
        self._shown.update(self._shown.done + 1, ', '.join(notes))
        if time.monotonic() - self._written_s >= LINE_EVERY_S or self._is_last:
            self._written_s = time.monotonic()
            self.write(self._shown.line())

    @property
    def _is_last(self) -> bool:
        return self._shown.done >= self._shown.total

    def write(self, line: str) -> None:
        """Add a line with the time to the file."""
        with self._log.open('a', encoding='utf-8') as file:
            file.write(f'{time.strftime("%F %T")} {line}\n')


@contextmanager
def _progress(log: Path, total: int, done: int) -> Iterator[_Progress]:
    with Progress('recordings', total, done) as shown:
        progress = _Progress(shown, log)
        progress.write(f'started; {done} of {counted(total, "recording")} done before')
        yield progress


def _execute(waiting: Sequence[Task], execute: Execute, needs: Needs, progress: _Progress) -> None:
    if not waiting:
        return
    for task, result in execute(waiting, needs):
        if result is None:
            result = {
                'status': FAILED,
                'error': f'its worker ended without an error {TRIES} times, as by a lack of '
                'memory or a crash of a library',
                'images': 0,
            }
            write_outcome(task, {**result, 'key': task.key(), 'timing': {}})
        if result['status'] == FAILED:
            progress.write(f'{task.name} failed: {result["error"]}')
        progress.add(result['status'], result['images'])
