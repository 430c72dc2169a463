# SPDX-License-Identifier: Apache-2.0
"""Image step of node and replay, with a real model and without ROS."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_model import make_tiny_model, paint_scene

from panoptic_ros.core.model_file import read_info
from panoptic_ros.node.counts import Drop
from panoptic_ros.node.image_step import (
    DroppedImage,
    ImageStep,
    ProcessedImage,
    Request,
    process_together,
)
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.stages import LABELS, Stage, sum_by_label
from panoptic_ros.runtime import Predictor, open_backend

SETTINGS = read_parameters(None)


@pytest.fixture
def step(tiny_model) -> ImageStep:
    predictor = Predictor(open_backend(tiny_model, 'onnxruntime', 'cpu'), read_info(tiny_model))
    return ImageStep(predictor, SETTINGS | {'max_age_ms': 200.0})


def message(stamp_s: float = 10.0, **changes):
    """Return an image message of the painted scene."""
    pixels = paint_scene(48, 96)
    stamp = SimpleNamespace(sec=int(stamp_s), nanosec=round(stamp_s % 1 * 1e9))
    values = {
        'header': SimpleNamespace(stamp=stamp),
        'height': 48,
        'width': 96,
        'step': 288,
        'encoding': 'rgb8',
        'is_bigendian': 0,
        'data': pixels.tobytes(),
    }
    return SimpleNamespace(**values | changes)


def test_an_image_is_read_segmented_tracked_and_timed(step):
    result = step(message(), 1.0)
    assert isinstance(result, ProcessedImage)
    np.testing.assert_array_equal(result.image.pixels, paint_scene(48, 96))
    assert len(result.frame.segments) == 4
    assert result.frame.segments['track_id'].any()
    assert result.frame.stamp_s == 10.0
    assert list(result.times) == [Stage.READ, Stage.PRE, Stage.INFER, Stage.POST, Stage.TRACK]
    assert all(0 < seconds < 60 for seconds in result.times.values())
    assert step.pipeline.tracks is not None


@pytest.mark.parametrize(
    ('given', 'now_s', 'reason', 'text'),
    [
        (message(encoding='odd'), None, Drop.BAD_IMAGE, "encoding 'odd' cannot be read"),
        (message(data=b''), None, Drop.BAD_IMAGE, 'data must hold 48 rows'),
        (message(), 10.5, Drop.TOO_OLD, '500 ms old, more than max_age_ms 200'),
        (message(encoding='odd'), 10.5, Drop.TOO_OLD, '500 ms old'),  # it is not read at all
    ],
)
def test_an_image_without_a_result_has_a_reason(step, given, now_s, reason, text):
    result = step(given, 1.0, now_s)
    assert isinstance(result, DroppedImage)
    assert result.reason is reason
    assert text in result.text
    assert result.problem == f'{reason.value}: {result.text}'
    assert isinstance(step(message(10.1), 1.1), ProcessedImage)  # the next one is processed


def test_without_a_current_time_images_have_no_age(step):
    assert isinstance(step(message(), 1.0, 10.1), ProcessedImage)
    assert isinstance(step(message(), 1.1, None), ProcessedImage)


def test_a_failure_names_its_kind_and_keeps_the_error(step, monkeypatch):
    error = RuntimeError('out of\nmemory')

    def fail(*_):
        raise error

    monkeypatch.setattr(step.pipeline.predictor.backend, 'run', fail)
    assert step(message(), 1.0) == DroppedImage(
        Drop.INFERENCE_FAILED, 'RuntimeError: out of memory', error
    )


def test_an_unusable_stamp_is_reported(step):
    step(message(), 1.0)
    assert not step.clock.problem
    step(message(0.0), 1.1)
    assert 'the stamp is zero' in step.clock.problem


def test_settings_apply_to_the_next_image(step):
    step.apply(SETTINGS | {'classes.include': ('ball',), 'max_image_pixels': 48 * 96})
    assert len(step(message(), 1.0).frame.segments) == 1
    step.apply(SETTINGS | {'max_image_pixels': 48 * 96 - 1})
    assert 'too large' in step(message(), 1.1).text


def test_diagnostics_show_the_sum_of_stages_with_one_label():
    times = {Stage.READ: 1.0, Stage.PRE: 2.0, Stage.INFER: 4.0, Stage.TOTAL: 8.0}
    assert sum_by_label(times) == {'pre-process': 3.0, 'infer': 4.0, 'end to end': 8.0}
    assert LABELS == (
        'pre-process',
        'infer',
        'post-process',
        'track',
        'metres',
        'points',
        'cloud',
        'markers',
        'publish',
        'end to end',
    )


def test_images_of_cameras_run_together_and_a_bad_one_does_not(tmp_path):
    path = make_tiny_model(tmp_path / 'double.onnx', batch=2)
    predictor = Predictor(open_backend(path, 'onnxruntime', 'cpu'), read_info(path))
    runs, run = [], predictor.backend.run
    predictor.backend.run = lambda *given: runs.append(len(given[0])) or run(*given)
    front, rear, side = (
        ImageStep(predictor, SETTINGS | settings)
        for settings in ({}, {'classes.include': ('ball',)}, {'score_threshold': 0.93})
    )
    wide = {'height': 24, 'width': 96, 'data': paint_scene(24, 96).tobytes()}
    results = process_together(
        [
            Request(front, message(), 1.0),
            Request(rear, message(encoding='odd'), 1.0),
            Request(side, message(**wide), 1.0),
        ]
    )
    assert isinstance(results[1], DroppedImage)
    assert [len(results[i].frame.segments) for i in (0, 2)] == [4, 1]
    assert results[2].frame.geometry.image_size == (24, 96)
    assert results[0].times[Stage.INFER] == results[2].times[Stage.INFER]
    assert runs == [2]
    results = process_together([Request(step, message(10.1), 1.1) for step in (front, rear, side)])
    assert [len(result.frame.segments) for result in results] == [4, 1, 1]
    assert runs == [2, 2, 2]  # the third image needs a run of its own


def test_cameras_with_different_models_do_not_run_together(tmp_path, tiny_model):
    """While a model is replaced, cameras take over the new one one after the other."""
    path = make_tiny_model(tmp_path / 'double.onnx', batch=2)
    steps = [
        ImageStep(Predictor(open_backend(p, 'onnxruntime', 'cpu'), read_info(p)), SETTINGS)
        for p in (path, tiny_model)
    ]
    results = process_together([Request(step, message(), 1.0) for step in steps])
    assert [len(result.frame.segments) for result in results] == [4, 4]
