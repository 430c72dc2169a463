# SPDX-License-Identifier: Apache-2.0
"""Calls of `panoptic replay`, and their results."""

import json
from pathlib import Path

from panoptic_ros.cli.main import main
from panoptic_ros.replay.frame_records import read_records


def run(*flags) -> int:
    """Run the command and return its exit status."""
    return main(['replay', *map(str, flags)])


def summary(folder: Path) -> dict:
    return json.loads((folder / 'summary.json').read_text())


def same_results(a: Path, b: Path) -> bool:
    """Return whether two results are bit-equal apart from times."""
    assert sorted(path.name for path in a.iterdir()) == sorted(path.name for path in b.iterdir())
    for name in ('bag/bag.mcap', 'bag/metadata.yaml', 'overlay.mp4'):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    values = [summary(folder) for folder in (a, b)]
    records = [read_records(folder / 'frames.jsonl') for folder in (a, b)]
    for record in records[0] + records[1]:
        record.times_ms = {}
    for value in values:
        del value['timing']
    return values[0] == values[1] and records[0] == records[1]
