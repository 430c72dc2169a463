# SPDX-License-Identifier: Apache-2.0
"""Engines whose answer is not that of the reference in the model file."""

import base64
import json
import logging
import re
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_model import tiny_graph, tiny_info

from panoptic_ros.core.model_file import REFERENCE_KEY, ModelFileError, file_hash, write_model_file
from panoptic_ros.core.reference import (
    MAX_CELLS,
    Reference,
    map_step,
    reference_from_text,
    reference_to_text,
    scale_image,
)
from panoptic_ros.runtime import BackendError, gpu, onnxruntime_backend, open_backend, select
from panoptic_ros.runtime.onnxruntime_backend import OnnxRuntimeBackend
from panoptic_ros.runtime.self_check import LEAST_AREA, agreement, make_reference, small_street
from panoptic_ros.runtime.trial import color_chart

INFO = tiny_info()


@pytest.fixture(scope='module')
def reference():
    made = make_reference(tiny_graph(INFO).SerializeToString(), INFO, color_chart(48, 64))
    assert made is not None
    return made


@pytest.fixture(scope='module')
def model(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp('checked') / 'checked.onnx'
    write_model_file(tiny_graph(INFO), INFO, path, reference)
    return path


def mirrored(outputs):
    maps = {n: getattr(outputs, n)[:, ::-1] for n in ('segment_map', 'semantic_map')}
    return outputs._replace(**maps)


def other_classes(outputs):
    return outputs._replace(semantic_map=(outputs.semantic_map + 1) % 4)


def zeros(outputs):
    return outputs._make(np.zeros_like(value) for value in outputs)


def nan_scores(outputs):
    return outputs._replace(score=outputs.score * np.float32(np.nan))


def no_things(outputs):
    things = np.isin(outputs.class_id, (2, 3))
    segments = np.where(np.isin(outputs.segment_map, np.flatnonzero(things) + 1), 0, 1)
    return outputs._replace(
        valid=outputs.valid & ~things, segment_map=outputs.segment_map * segments.astype(np.int32)
    )


def swapped_segments(outputs):
    """Change the shapes of segments, but not their classes."""
    balls = np.isin(outputs.segment_map, (3, 4))
    chess = np.indices(outputs.segment_map.shape).sum(0) % 2 + 3
    segments = np.where(balls, chess, outputs.segment_map).astype(np.int32)
    boxes = np.isin(segments, (5, 6))
    return outputs._replace(segment_map=np.where(boxes, chess + 2, segments).astype(np.int32))


LIES = {
    mirrored: r'\d+% of the test image have the same class',
    other_classes: 'have the same class',
    zeros: 'have the same class',
    nan_scores: 'output score has values outside -0.01 to 1.01, or NaN',
    no_things: r'% of the segments are the same, expected at least 95% and 80%',
    swapped_segments: '100% of the test image have the same class and .* segments are the same',
}


def lie(monkeypatch, change, device='cpu'):
    """Let ONNX Runtime change its answers on a device; a GPU runs on the CPU."""
    real = OnnxRuntimeBackend.run

    def run(self, image, thresholds):
        outputs = real(self, image, thresholds)
        return change(outputs) if self.device == device else outputs

    monkeypatch.setattr(OnnxRuntimeBackend, 'run', run)


@pytest.mark.parametrize('change', LIES)
def test_a_wrong_answer_is_an_error_that_names_the_versions(model, monkeypatch, change):
    lie(monkeypatch, change)
    with pytest.raises(BackendError, match=LIES[change]) as caught:
        open_backend(model, 'onnxruntime', 'cpu')
    text, version = str(caught.value), onnxruntime.__version__
    assert text.startswith(f'onnxruntime/cpu of onnxruntime {version} in fp32 on cpu computes')
    assert f'{model} ({file_hash(model)})' in text and '\n' not in text


@pytest.fixture
def lying_gpu(monkeypatch):
    """A GPU on which ONNX Runtime mirrors its maps."""
    for module in (gpu, select):
        monkeypatch.setattr(module, 'gpu_names', lambda: ('Test GPU',))
    lie(monkeypatch, mirrored, 'cuda:0')
    real = OnnxRuntimeBackend.__init__

    def start(self, path, device, *arguments, **options):
        real(self, path, 'cpu', *arguments, **options)
        self.device = 'cuda:0' if device.startswith('cuda') else device

    monkeypatch.setattr(onnxruntime_backend.OnnxRuntimeBackend, '__init__', start)


def test_the_cpu_takes_the_place_of_a_lying_gpu_where_it_may(model, lying_gpu, caplog):
    with caplog.at_level(logging.INFO):
        backend = open_backend(model, 'onnxruntime', 'cuda', allow_cpu=True)
    assert backend.device == 'cpu' and 'computes something else' in backend.fallback_reason
    (error,) = (record for record in caplog.records if record.levelname == 'ERROR')
    assert 'on cuda:0 computes something else' in error.getMessage()
    assert '100.0 % of the test image have the same class' in caplog.text


def test_a_lying_gpu_is_refused_where_the_cpu_may_not_take_its_place(model, lying_gpu, caplog):
    with pytest.raises(BackendError, match='on cuda:0 computes something else'):
        open_backend(model, 'onnxruntime', 'cuda')
    assert not [record for record in caplog.records if record.levelname == 'ERROR']


def test_a_file_without_a_reference_is_not_compared(tiny_model, monkeypatch, caplog):
    lie(monkeypatch, mirrored)
    with caplog.at_level(logging.INFO):
        assert open_backend(tiny_model, 'onnxruntime', 'cpu')
    assert 'no reference' in caplog.text


def test_an_answer_that_depends_on_rounding_makes_no_reference():
    nearly_green = np.full((8, 8, 3), (100, 126, 100), np.uint8)  # green from 128 on
    assert make_reference(tiny_graph(INFO).SerializeToString(), INFO, nearly_green) is None
    assert (
        make_reference(tiny_graph(INFO).SerializeToString(), INFO, nearly_green - np.uint8(30))
        is not None
    )


def random_answer(rng, rows=5, size=(12, 20)):
    segment_map = np.kron(rng.integers(0, rows + 1, (3, 5)), np.ones((4, 4), int))
    segment_map[rng.random(size) < 0.3] = 0
    class_of = np.array([255, *rng.integers(0, 2, rows)], np.uint8)
    return Reference(
        '', small_street(), segment_map.astype(np.uint16), class_of[segment_map], class_of
    )


@pytest.mark.parametrize('seed', range(20))
def test_agreement_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    a = random_answer(rng)
    b = random_answer(rng) if seed % 2 else replace(a, segment_map=np.roll(a.segment_map, 1, 1))
    found = agreement(a, b)
    cells, matched, large = a.segment_map.size, 0, 0
    for one, other in ((a, b), (b, a)):
        for i in range(1, 6):
            mine = one.segment_map == i
            if mine.sum() < max(1, LEAST_AREA * cells):
                continue
            large += 1
            for j in range(1, 6):
                its = other.segment_map == j
                iou = (mine & its).sum() / (mine | its).sum()
                matched += iou > 0.5 and one.class_of[i] == other.class_of[j]
    assert found.classes == (a.semantic_map == b.semantic_map).mean()
    assert found.segments == pytest.approx(matched / large if large else 1)


def test_nothing_agrees_with_nothing():
    empty = replace(
        random_answer(np.random.default_rng(0)), segment_map=np.zeros((4, 8), np.uint16)
    )
    assert agreement(empty, empty).segments == 1


def test_the_document_holds_the_reference(reference):
    text = reference_to_text(reference)
    again = reference_from_text(text, INFO)
    assert again.engine == reference.engine
    for name in ('image', 'segment_map', 'semantic_map', 'class_of'):
        np.testing.assert_array_equal(getattr(again, name), getattr(reference, name))
    assert len(text) < 12_000


@pytest.mark.parametrize(('size', 'stride'), [((64, 128), 4), ((1024, 2048), 1), ((1000, 30), 1)])
def test_large_maps_are_sampled(size, stride):
    info = tiny_info(size, stride)
    step = map_step(info)
    rows, columns = (len(range(0, n // stride, step)) for n in size)
    assert rows * columns <= MAX_CELLS and (step == 1 or rows * columns > MAX_CELLS / 2)
    assert scale_image(small_street(), info).shape == (*size, 3)


def packed(data):
    return base64.b85encode(zlib.compress(data, 9)).decode()


DAMAGES = [
    ({'data': '\x00'}, 'entries engine, image_size, rows and data are damaged'),
    ({'data': packed(b'')}, 'data must have'),
    ({'data': packed(bytes(10**8))}, 'data must have'),
    ({'data': base64.b85encode(b'no zlib').decode()}, 'data are damaged'),
    ({'data': None}, 'are damaged'),
    ({'image_size': [48, 10**9]}, 'whole numbers of 1 to 512'),
    ({'image_size': [48]}, 'are damaged'),
    ({'image_size': [48, True]}, 'whole numbers'),
    ({'rows': 0}, 'whole numbers of 1 to 65535'),
    ({'rows': 2}, 'data must have'),
    ({'engine': 'a\nb'}, 'engine must be a line'),
    ({'engine': 7}, 'engine must be a line'),
]


@pytest.mark.parametrize(('change', 'reason'), DAMAGES)
def test_a_damaged_reference_is_refused_with_little_memory(model, tmp_path, change, reason):
    loaded, path = onnx.load(model), tmp_path / 'damaged.onnx'
    for entry in loaded.metadata_props:
        if entry.key == REFERENCE_KEY:
            entry.value = json.dumps({**json.loads(entry.value), **change})
    onnx.save(loaded, path)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=reason) as caught:
            open_backend(path, 'onnxruntime', 'cpu')
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert re.match(f'{re.escape(str(path))}: metadata', str(caught.value))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['', '[]', '3', 'null', '{}', '{"data": {}}', '[' * 10**5])
def test_any_other_document_is_refused(text):
    with pytest.raises(ValueError, match=r'damaged|not JSON|nested|JSON'):
        reference_from_text(text, INFO)
