# SPDX-License-Identifier: Apache-2.0
"""Calls of `panoptic suite`, and what its results have in common."""

import json
from pathlib import Path

from panoptic_ros.cli.main import main
from panoptic_ros.replay.frame_records import read_records


def run_suite(*words) -> int:
    """Run `panoptic suite run` and return its exit status."""
    return main(['suite', 'run', *map(str, words)])


def compare(*words) -> int:
    """Run `panoptic suite compare` and return its exit status."""
    return main(['suite', 'compare', *map(str, words)])


def write_suite(path: Path, recordings, **keys) -> Path:
    path.write_text(json.dumps({'recordings': recordings, **keys}))  # JSON is YAML
    return path


def summary_of(folder: Path) -> dict:
    return json.loads((folder / 'summary.json').read_text())


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / 'recordings.jsonl').read_text().splitlines()]


def figures(folder: Path) -> dict:
    """Return everything in the results that must not depend on machines and their load."""
    summary = summary_of(folder)
    for group in (summary, *summary['tags'].values()):
        del group['timing']
    rows = rows_of(folder)
    for row in rows:
        for name in ('latency_p50_ms', 'latency_p95_ms', 'seconds', 'host'):
            del row[name]
    found = {'summary': summary, 'rows': rows}
    for recording in sorted((folder / 'recordings').iterdir()):
        records = read_records(recording / 'frames.jsonl')
        for record in records:
            record.times_ms = {}
        found[recording.name] = (
            records,
            (recording / 'counts.json').read_bytes() if records[0].quality else None,
            (recording / 'bag' / 'bag.mcap').read_bytes(),
        )
    for picture in sorted((folder / 'worst').iterdir()):
        found[picture.name] = picture.read_bytes()
    return found
