# SPDX-License-Identifier: Apache-2.0
"""A suite of many short drawn recordings: its time, and the memory of the process that runs it.

python test/helpers/suite_scale.py 1000
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from replay_bags import GT_TOPIC, drive, write_bag
from tiny_model import make_tiny_model

from panoptic_ros.suite.executor import Needs
from panoptic_ros.suite.local import execute_locally, workers_for
from panoptic_ros.suite.run import run_suite
from panoptic_ros.suite.suite_file import read_suite

IMAGES = (20, 30, 40)
"""Images of the recordings; each is used for a third of the suite."""


@dataclass
class Scale:
    """What was measured."""

    recordings: int
    workers: int
    images: int

    wall_s: float
    """Time of the whole run, merging and pages included."""

    replays_s: float
    """Sum of the times of all replays."""

    memory_mb: tuple[float, float]
    """Memory of this process after a tenth of the recordings, and the largest after that."""

    @property
    def ratio(self) -> float:
        """Time over the sum of all replays divided by the number of processes."""
        return self.wall_s / (self.replays_s / self.workers)

    def __str__(self) -> str:
        return (
            f'{self.recordings} recordings, {self.images} images, {self.workers} processes: '
            f'{self.wall_s:.0f} s, {self.ratio:.2f} times the sum of the replays '
            f'({self.replays_s:.0f} s) divided by the processes; memory '
            f'{self.memory_mb[0]:.0f} MB after a tenth, at most {self.memory_mb[1]:.0f} MB later'
        )


def memory_mb() -> float:
    """Return the resident memory of this process, MB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def measure(folder: Path, recordings: int) -> Scale:
    """Run a suite of drawn recordings in processes of this machine."""
    model = make_tiny_model(folder / 'tiny.onnx')
    drawn = [write_bag(folder / f'drawn_{count}', drive(count)) for count in IMAGES]
    (folder / 'drives').mkdir()
    for i in range(recordings):
        (folder / 'drives' / f'drive_{i:05d}').symlink_to(drawn[i % len(drawn)])
    entry = {'path': 'drives/*', 'ground_truth': GT_TOPIC, 'tags': ['drawn']}
    keys = {'model': str(model), 'memory_gb': 0.5, 'recordings': [entry]}
    (folder / 'suite.yaml').write_text(json.dumps(keys))
    suite, seen = read_suite(folder / 'suite.yaml'), []

    def execute(tasks, needs):
        for ended in execute_locally(tasks, needs):
            seen.append(memory_mb())
            yield ended

    start_s = time.monotonic()
    summary = run_suite(suite, folder / 'out', execute)
    wall_s = time.monotonic() - start_s
    seen.append(memory_mb())
    assert summary['recordings']['done'] == recordings
    needs = Needs(suite.cpus, suite.gpus, suite.memory_gb)
    return Scale(
        recordings,
        workers_for(needs),
        summary['frames']['replayed'],
        wall_s,
        summary['timing']['seconds'],
        (seen[recordings // 10], max(seen[recordings // 10 :])),
    )


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as name:
        print(measure(Path(name), int(sys.argv[1])))
