# SPDX-License-Identifier: Apache-2.0
"""Changes of a running pipeline, with real models and without ROS."""

import gc
import threading
import weakref

import numpy as np
import pytest
from tiny_model import LABELS, paint_scene

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import read_info
from panoptic_ros.node.live_pipeline import LivePipeline
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.runtime import Predictor, open_backend

SETTINGS = read_parameters(None)
FLOOR = LABELS.names.index('floor')


def nothing() -> None:
    """Stand-in for a callback."""


@pytest.fixture
def make_predictor(tiny_model):
    def make() -> Predictor:
        return Predictor(open_backend(tiny_model, 'onnxruntime', 'cpu'), read_info(tiny_model))

    return make


@pytest.fixture
def live(make_predictor):
    return LivePipeline(make_predictor(), SETTINGS)


def process(live: LivePipeline, stamp_s: float) -> np.ndarray:
    """Return the instance table of one image."""
    with live.for_image():
        frame, _ = live(CameraImage(paint_scene(48, 96)), stamp_s)
    return frame.segments


def track_ids(rows: np.ndarray) -> set[int]:
    return set(rows['track_id'][rows['is_thing'] == 1])


def test_a_change_waits_for_the_current_image_and_no_longer(live, make_predictor):
    with live.for_image():
        old = live.predictor
        live.replace_model(make_predictor(), nothing)
        live.apply(SETTINGS | {'classes.include': ('ball',)})
        assert live.predictor is old
        frame, _ = live(CameraImage(paint_scene(48, 96)), 1.0)
        assert len(frame.segments) == 4
    assert live.predictor is not old
    assert len(process(live, 1.1)) == 1


def test_of_many_models_that_wait_only_the_newest_is_kept(live, make_predictor):
    """Each model holds an engine with its threads and must be freed without the collector."""
    gc.disable()
    try:
        first, models = weakref.ref(live.predictor.backend), []
        with live.for_image():
            for _ in range(4):
                predictor = make_predictor()
                models.append(weakref.ref(predictor.backend))
                live.replace_model(predictor, nothing)
                del predictor
            assert [model() is None for model in models] == [True, True, True, False]
            assert first() is not None
        assert first() is None
        live.replace_model(make_predictor(), nothing)  # without any image
        assert models[-1]() is None
    finally:
        gc.enable()


def test_the_owner_is_called_between_the_last_image_of_the_old_model_and_the_next(
    live, make_predictor
):
    calls = []
    first, second = make_predictor(), make_predictor()
    with live.for_image():
        live.replace_model(first, lambda: calls.append(('first', live.predictor)))
        live.replace_model(second, lambda: calls.append(('second', live.predictor)))
        assert not calls
    assert calls == [('second', second)]
    live.replace_model(first, lambda: calls.append(('first', live.predictor)))
    assert calls[1:] == [('first', first)]
    process(live, 1.0)
    assert len(calls) == 2


def test_the_newest_settings_count_for_a_model_that_waits(live, make_predictor):
    with live.for_image():
        live.apply(SETTINGS | {'classes.include': ('wall',)})
        live.replace_model(make_predictor(), nothing)
        live.apply(SETTINGS | {'classes.include': ('ball', 'box')})
    assert len(process(live, 1.0)) == 2


@pytest.mark.parametrize(
    'change',
    [
        lambda live, _: live.reset_tracks(),
        lambda live, make_predictor: live.replace_model(make_predictor(), nothing),
        lambda live, _: live.apply(SETTINGS | {'tracker.enabled': False}),
    ],
    ids=['reset', 'model', 'tracker off'],
)
def test_later_settings_do_not_cancel_a_reset_that_waits(live, make_predictor, change):
    before = track_ids(process(live, 1.0))
    assert before == track_ids(process(live, 1.1))
    with live.for_image():
        change(live, make_predictor)
        for rate_hz in range(100):
            live.apply(SETTINGS | {'max_rate_hz': float(rate_hz)})
    assert min(track_ids(process(live, 1.2))) > max(before)


def test_settings_alone_leave_the_tracks(live):
    before = track_ids(process(live, 1.0))
    live.apply(SETTINGS | {'min_area': 1.0})
    assert track_ids(process(live, 1.1)) == before


def test_changes_are_made_after_an_image_that_fails(live):
    with pytest.raises(ValueError, match='on purpose'), live.for_image():
        live.apply(SETTINGS | {'classes.include': ('ball',)})
        raise ValueError('on purpose')
    assert len(process(live, 1.0)) == 1


def test_changes_from_one_thread_and_images_from_another(live):
    """No change is lost, whichever thread makes it."""
    stop = threading.Event()

    def work() -> None:
        stamp_s = 1.0
        while not stop.is_set():
            process(live, stamp_s := stamp_s + 0.1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(300):
            names = ('ball',) if number % 2 else ()
            live.apply(SETTINGS | {'classes.include': names})
    finally:
        stop.set()
        thread.join(30)
    assert len(process(live, 1e6)) == 1


STUFF_VOTE = SETTINGS | {'smooth.stuff': True}


def floor_at_the_edge(live: LivePipeline, stamp_s: float, patch: bool = False) -> bool:
    """Return whether the corner is floor, in an image with or without a patch of wall there."""
    pixels = paint_scene(48, 96)
    if patch:
        pixels[-8:, :8] = pixels[4, 4]
    with live.for_image():
        frame, _ = live(CameraImage(pixels), stamp_s)
    return bool(frame.semantic_map[-1, 0] == FLOOR)


@pytest.mark.parametrize(
    ('change', 'is_forgotten'),
    [
        (lambda live, _: live.apply(STUFF_VOTE | {'min_area': 1.0}), False),
        (lambda live, _: live.apply(STUFF_VOTE | {'tracker.camera_motion': True}), True),
        (lambda live, _: live.reset_tracks(), True),
        (lambda live, make_predictor: live.replace_model(make_predictor(), nothing), True),
        (lambda live, _: live.apply(SETTINGS), True),
    ],
    ids=['other setting', 'unknown motion', 'reset', 'model', 'off'],
)
def test_votes_for_stuff_last_as_long_as_the_tracks(live, make_predictor, change, is_forgotten):
    live.apply(STUFF_VOTE)
    assert all(floor_at_the_edge(live, stamp_s) for stamp_s in (0.9, 1.0, 1.1))
    assert floor_at_the_edge(live, 1.2, patch=True), 'three votes against one'
    change(live, make_predictor)
    assert floor_at_the_edge(live, 1.3, patch=True) is not is_forgotten


def test_stuff_is_voted_for_without_a_tracker(live):
    live.apply(STUFF_VOTE | {'tracker.enabled': False})
    assert floor_at_the_edge(live, 1.0) and floor_at_the_edge(live, 1.1)
    assert floor_at_the_edge(live, 1.2, patch=True)
