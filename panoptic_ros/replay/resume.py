# SPDX-License-Identifier: Apache-2.0
"""Folder of a replay: its results, and the unfinished ones with which a later run resumes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import write_json
from panoptic_ros.core.outputs import Results
from panoptic_ros.replay.counts import COUNTS

UNFINISHED = '.unfinished'
"""Name of the folder of an unfinished replay, in the output folder."""

RESULTS = Results(
    ('report.html', 'overlay.mp4', 'bag', 'frames.jsonl', COUNTS, 'summary.json'),
    'summary.json',
    'settings',
)
"""Results of a replay."""

COMPARISON = Results(('compare.html', 'compare.json'), 'compare.json', 'differing')
"""Results of a comparison of two replays."""

OUTPUTS_LOG = 'outputs.log'
"""File in it with the network's outputs; see `LoggedBackend`."""


def open_work_folder(output: Path, key: Mapping[str, Any]) -> Path:
    """Return the folder of an unfinished replay, with its log if the replay can be resumed.

    Args:
        output: folder of the results.
        key: everything that determines the network's outputs, as plain values.

    Raises:
        ValueError: if the folder holds an unfinished replay with another key.
    """
    work = output / UNFINISHED
    work.mkdir(parents=True, exist_ok=True)
    file, log = work / 'run.json', work / OUTPUTS_LOG
    if file.is_file() and log.is_file() and log.stat().st_size:
        try:
            earlier = dict(read_json(file))
        except (ValueError, TypeError):
            earlier = {}
        differing = [name for name in key if earlier.get(name) != key[name]]
        if differing:
            raise ValueError(
                f'{output} holds an unfinished replay with another '
                f'{", ".join(differing)}; take another folder, or delete {work}'
            )
    else:
        write_json(key, file)
        log.unlink(missing_ok=True)
    return work
