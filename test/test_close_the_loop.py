# SPDX-License-Identifier: Apache-2.0
"""examples/close_the_loop.py: its recordings and labels, and a run with a small budget."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.recordings.open import open_recording
from panoptic_ros.replay.ground_truth import FolderGroundTruth

SCRIPT = Path(__file__).parents[1] / 'examples/close_the_loop.py'


@pytest.fixture(scope='module')
def example():
    spec = spec_from_file_location('close_the_loop', SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_recordings_have_the_stamps_of_their_ground_truth(example, tmp_path):
    example.record(tmp_path, 1, 3)
    names = sorted(path.name for path in (tmp_path / 'drives').iterdir())
    assert names == ['day_test_0', 'night_mine_0', 'night_test_0']
    assert sorted(path.name for path in (tmp_path / 'labels').iterdir()) == [names[0], names[2]]
    recording = open_recording(tmp_path / 'drives/night_test_0')
    truth = FolderGroundTruth(tmp_path / 'labels/night_test_0', example.LABELS)
    stamps = {example.START_NS + i * example.STEP_NS for i in range(3)}
    records = recording.records(list(recording.topics))
    assert {record.time_ns for record in records} == stamps == truth.stamps()
    frame = example.clip_of('night_test_0').frame(example.FRAMES_APART)
    maps = truth.at(example.START_NS + example.STEP_NS)
    assert np.array_equal(maps.class_map, frame.class_map)
    is_thing = np.append(example.LABELS.is_thing, False)[frame.class_map]
    assert np.array_equal(maps.track_map, np.where(is_thing, frame.track_map, 0))


def test_tests_and_mined_recordings_are_of_other_streets(example):
    night, mined, day = (
        example.clip_of(f'{kind}_0').seed for kind in ('night_test', 'night_mine', 'day_test')
    )
    assert night == day != mined


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_it_runs_to_the_comparison(tmp_path):
    words = ('--steps', '8', '--clips', '1', '--frames', '8', '--count', '8')
    run = subprocess.run(
        [sys.executable, str(SCRIPT), '-o', str(tmp_path / 'loop'), *words],
        capture_output=True,
        text=True,
        timeout=1400,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for name in ('day.onnx', 'night.onnx', 'picked/index.html', 'suites/night.yaml'):
        assert (tmp_path / 'loop' / name).is_file()
