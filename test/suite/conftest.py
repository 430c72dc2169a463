# SPDX-License-Identifier: Apache-2.0
"""Suites of small recordings."""

import json
from pathlib import Path

import pytest

from panoptic_ros.cli.main import main


@pytest.fixture(scope='session')
def drives(tmp_path_factory, tiny_model) -> Path:
    """Folder of recordings with ground truth, of the model, and of `suite.json`."""
    pytest.importorskip('matplotlib', reason='reports are drawn by it')
    from replay_bags import GT_TOPIC, drive, pausing_bag, write_bag  # needs rosbags

    folder = tmp_path_factory.mktemp('drives')
    for name, count in (('sunny_1', 4), ('sunny_2', 5), ('rainy', 6)):
        write_bag(folder / name, drive(count))
    pausing_bag(folder / 'pausing')
    (folder / 'tiny.onnx').symlink_to(tiny_model)
    suite = {
        'name': 'small',
        'model': 'tiny.onnx',
        'memory_gb': 0.5,
        'recordings': [
            {'path': 'sunny_*', 'ground_truth': GT_TOPIC, 'tags': ['sun']},
            {'path': 'rainy', 'ground_truth': GT_TOPIC, 'tags': ['rain']},
            {'path': 'pausing', 'ground_truth': GT_TOPIC, 'tags': ['sun', 'pause']},
        ],
    }
    (folder / 'suite.yaml').write_text(json.dumps(suite))
    return folder


@pytest.fixture(scope='session')
def finished(drives, tmp_path_factory) -> Path:
    """Folder of a finished run; not to be changed."""
    folder = tmp_path_factory.mktemp('finished') / 'out'
    assert main(['suite', 'run', str(drives / 'suite.yaml'), '-o', str(folder)]) == 0
    return folder


@pytest.fixture
def in_process(monkeypatch):
    """Replay recordings in this process, which saves the start of others."""
    from panoptic_ros.suite.worker import replay_recording

    def execute(tasks, needs, workers=None):
        for task in tasks:
            yield task, replay_recording(task.to_dict())

    monkeypatch.setattr('panoptic_ros.suite.local.execute_locally', execute)
