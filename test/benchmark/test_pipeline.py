# SPDX-License-Identifier: Apache-2.0
"""Times of the pipeline: that every stage is there, not how fast it is."""

import numpy as np
import pytest
from tiny_model import paint_scene

from panoptic_ros.benchmark import pipeline as benchmark
from panoptic_ros.benchmark.inputs import street
from panoptic_ros.benchmark.pipeline import LEAST_FRAMES, time_pipeline
from panoptic_ros.core.image import CameraImage
from panoptic_ros.node.stages import Stage

SCENE = [CameraImage(paint_scene(90, 160))]


class CountingSink:
    sent = 0

    def send(self, image, frame, labels):
        assert len(frame.segments) == 4
        self.sent += 1
        return {Stage.MESSAGES: 2e-3, Stage.PUBLISH: 1e-3}


def test_stages_of_a_file_that_does_not_name_its_maps(tiny_model):
    sink, progress = CountingSink(), []
    report = time_pipeline(tiny_model, SCENE, 0.01, sink, progress.append, backend='onnxruntime')
    assert list(report.stages_ms) == [
        'pre',
        'infer',
        'post',
        'track',
        'messages',
        'publish',
        'total',
    ]
    frames = len(report.stages_ms['total'])
    assert frames == sink.sent >= LEAST_FRAMES
    assert set(report.stages_ms['messages']) == {2} and set(report.stages_ms['publish']) == {1}
    assert len(progress) > frames and progress == sorted(progress) and progress[-1] == 1
    parts = [values for name, values in report.stages_ms.items() if name != 'total']
    np.testing.assert_allclose(report.stages_ms['total'], np.sum(parts, axis=0))
    assert report.rate_hz == pytest.approx(1e3 / report.stages_ms['total'].mean())
    assert 20e6 < report.peak_bytes < 20e9
    assert report.graph is None and report.nodes > 20


def test_the_tracker_that_is_timed_follows_each_thing(monkeypatch):
    ids = []

    class Noted(benchmark.Tracker):
        def update(self, frame):
            tracked = super().update(frame)
            ids.append(tracked.segments['track_id'].tolist())
            return tracked

    monkeypatch.setattr(benchmark, 'Tracker', Noted)
    assert benchmark.time_tracker(count=12, frames=5).shape == (5,)
    assert ids == [list(range(1, 13))] * 6


def test_the_camera_motion_that_is_timed_is_found(monkeypatch):
    pytest.importorskip('panoptic_training', reason='the street is noise without it')
    motions = []

    class Noted(benchmark.CameraMotion):
        def update(self, frame, image):
            motions.append(super().update(frame, image))

    monkeypatch.setattr(benchmark, 'CameraMotion', Noted)
    images = street(180, 320, count=3)
    assert benchmark.time_camera_motion(images, frames=6).shape == (6,)
    assert motions[0] is None and all(motion is not None for motion in motions[1:])
