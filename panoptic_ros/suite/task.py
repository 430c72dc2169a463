# SPDX-License-Identifier: Apache-2.0
"""What a worker receives and returns, as plain values, and the files of a suite's results."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.suite.suite_file import Recording

SETTINGS = 'suite.json'
"""File in the results that says which suite they are of."""

SUMMARY, PAGE, LOG = 'summary.json', 'index.html', 'progress.log'
LINES, TABLE = 'recordings.jsonl', 'recordings.parquet'
"""A row for each recording, as lines of JSON and as Parquet."""

RECORDINGS, OUTCOMES, WORST, FETCHED = 'recordings', 'outcomes', 'worst', 'fetched'
"""Folders: results of `replay`, an `Outcome` and the worst frames of each recording, and local
copies while they are used."""

DONE, FAILED = 'done', 'failed'


@dataclass(frozen=True)
class Task:
    """Replay of one recording."""

    recording: Recording
    model: str
    """Path of the model file."""

    model_hash: str
    config: str
    """Path of the parameter file; empty for none."""

    threads: int
    on_cpu: bool
    """Whether no GPU is used."""

    rate: float | None
    """Speed at which the recording is also played to the running node; None does not."""

    fetch_gb: float
    results: str
    """Absolute path of the folder of the suite's results."""

    @property
    def name(self) -> str:
        """Name of the recording."""
        return self.recording.name

    @property
    def outcome_file(self) -> Path:
        """File with the outcome."""
        return Path(self.results) / OUTCOMES / f'{self.name}.json'

    @property
    def folder(self) -> Path:
        """Folder with the results of the replay."""
        return Path(self.results) / RECORDINGS / self.name

    def key(self) -> dict[str, Any]:
        """Return what the results depend on beside the suite, as JSON stores it."""
        recording = self.recording
        local = Path(recording.path)
        files = sorted(local.rglob('*')) if local.is_dir() else [local]
        return {
            'path': recording.path,
            'cameras': list(recording.cameras),
            'ground_truth': list(recording.ground_truth),
            'bytes': sum(file.stat().st_size for file in files if file.is_file()),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which any executor can send to another process."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'Task':
        """Return the task of `to_dict`."""
        return cls(**{**values, 'recording': Recording(**values['recording'])})


def read_outcome(task: Task) -> dict[str, Any] | None:
    """Return the outcome of a recording; None if it has none, or that of other work.

    Its keys: `status`, `error` (one line, empty if there is none), `key` (`Task.key`), and if it
    is done `summary` (that of the replay), `worst` (its worst frames with their pictures) and
    `timing` (`seconds`, `latency` as counted by `count_latencies`, `host`).
    """
    try:
        outcome = dict(read_json(task.outcome_file))
        is_own = outcome['key'] == task.key() and outcome['status'] in (DONE, FAILED)
        if outcome['status'] == DONE:
            is_own &= {'summary', 'worst', 'timing'} <= set(outcome) and task.folder.is_dir()
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return outcome if is_own else None
