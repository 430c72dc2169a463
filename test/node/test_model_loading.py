# SPDX-License-Identifier: Apache-2.0
import json
import threading

import pytest

from panoptic_ros.node import model_loading
from panoptic_ros.node.messages import label_json_message
from panoptic_ros.node.parameters import PARAMETERS
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.runtime.engine_build import EngineBuild

SETTINGS = {parameter.name: parameter.default for parameter in PARAMETERS}


def test_a_model_is_loaded(tiny_model):
    loaded = model_loading.load_in_time(SETTINGS | {'model': str(tiny_model)}, EngineBuild())
    assert loaded.predictor.info.name == 'tiny'


@pytest.mark.parametrize('choice', ['distinct', 'own'])
def test_pictures_and_label_info_have_the_same_colours(tiny_model, choice):
    loaded = model_loading.load_model(
        SETTINGS | {'model': str(tiny_model), 'class_colors': choice}
    )
    labels = loaded.predictor.info.labels
    message = label_json_message(BagTypes(), labels, 0.5, None)
    published = [entry['color'] for entry in json.loads(message.data)['labels']]
    assert published == labels.colors[: len(labels)].tolist()
    own = [list(label.color) for label in labels.labels]
    assert (published == own) == (choice == 'own')


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (ValueError('no such engine'), 'no such engine'),
        (MemoryError(), 'MemoryError'),
        (SystemExit('a library gave up'), 'a library gave up'),
    ],
)
def test_a_failure_is_reported_at_once(monkeypatch, error, text):
    def load(settings, progress):
        raise error

    monkeypatch.setattr(model_loading, 'load_model', load)
    with pytest.raises(RuntimeError, match=text) as caught:
        model_loading.load_in_time(SETTINGS, EngineBuild())
    assert caught.value.__cause__ is caught.value.__context__ is None  # no frames are kept


def test_a_load_that_never_ends_fails_after_the_limit(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(model_loading, 'load_model', lambda *_: release.wait(60))
    progress = EngineBuild()
    with pytest.raises(TimeoutError, match=r'is not loaded after 0.05 s; .* load_timeout_s'):
        model_loading.load_in_time(SETTINGS | {'load_timeout_s': 0.05}, progress)
    assert progress.cancelled
    (thread,) = (t for t in threading.enumerate() if t.name == 'model loader')
    assert thread.daemon
    release.set()
    thread.join(20)
