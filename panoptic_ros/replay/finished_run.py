# SPDX-License-Identifier: Apache-2.0
"""Results of a finished replay, read from its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
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

    written: datetime | None = None
    """Time at which summary.json was written, UTC; None for a run that is not in a folder."""

    def value(self, *path: str) -> Any:
        """Return a value of the summary by the keys that lead to it; None if it has none."""
        value: Any = self.summary
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def date(self) -> str:
        """When the replay ended; for one of an earlier version, when its file was written."""
        text = self.value('timing', 'finished')
        try:
            finished = datetime.fromisoformat(text) if isinstance(text, str) else self.written
        except ValueError:
            finished = self.written
        return f'{finished:%Y-%m-%d %H:%M} UTC' if finished else '-'

    @property
    def model_file(self) -> str:
        """Name of the model's file; earlier versions gave it only if it was not the default."""
        named = self.value('model', 'file') or self.value('settings', 'model') or '-'
        return Path(str(named)).name


def read_run(folder: Path) -> ReplayRun:
    """Read the results of a replay from its folder.

    Raises:
        FileNotFoundError: if the folder is not that of a finished replay.
        ValueError: if one of its files is damaged.
    """
    path = folder / 'summary.json'
    records = read_records(folder / 'frames.jsonl')
    try:
        written = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
        run = ReplayRun(str(folder), read_json(path), records, written)
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
