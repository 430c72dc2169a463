# SPDX-License-Identifier: Apache-2.0
"""Results of a finished replay, read from its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.replay.frame_records import FrameRecord, read_records


@dataclass(frozen=True)
class ReplayRun:
    """Summary and frame records of a finished replay."""

    name: str
    summary: Mapping[str, Any]
    """Contents of summary.json; see `summarize`."""

    records: Sequence[FrameRecord]

    def value(self, *path: str) -> Any:
        """Return a value of the summary by the keys that lead to it; None if it has none."""
        value: Any = self.summary
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_run(folder: Path) -> ReplayRun:
    """Read the results of a replay from its folder.

    Raises:
        FileNotFoundError: if the folder is not that of a finished replay.
        ValueError: if one of its files is damaged.
    """
    path = folder / 'summary.json'
    records = read_records(folder / 'frames.jsonl')
    try:
        run = ReplayRun(str(folder), read_json(path), records)
    except FileNotFoundError:
        raise FileNotFoundError(f'no summary.json in {folder}') from None
    classes = run.value('model', 'classes')
    if not isinstance(classes, list) or not isinstance(run.value('settings'), dict):
        raise ValueError(f'{path} is damaged: it has no classes or no settings')
    ids = {i for record in records for i in (*(record.quality or ()), *(record.overlap or ()))}
    if ids and not 0 <= min(ids) <= max(ids) < len(classes):
        raise ValueError(
            f'{folder / "frames.jsonl"} is damaged: class ids must be 0 to '
            f'{len(classes) - 1}, got {min(ids)} to {max(ids)}'
        )
    return run
