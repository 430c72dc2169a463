# SPDX-License-Identifier: Apache-2.0
"""Every backend returns the outputs of the family's own module."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_model import paint_scene

from panoptic_ros.core.model_file import ModelFileError, read_info
from panoptic_ros.core.model_info import OUTPUTS, Outputs
from panoptic_ros.runtime import Backend, BackendError, open_backend

SIZE = (64, 128)

IMAGES = {
    'noise': np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8),
    'scene': paint_scene(*SIZE),
    'black': np.zeros((*SIZE, 3), np.uint8),
}

THRESHOLDS = [
    {},  # the file's own: an untrained model finds nothing
    {'score_threshold': 0.3, 'min_area': 0, 'min_stuff_area': 0},  # a few instances
    {'score_threshold': 0, 'min_area': 0, 'merge_threshold': 1, 'min_stuff_area': 0},  # all seeds
    {'score_threshold': 0.3, 'stuff_threshold': 1, 'min_area': 16},  # no stuff
]


def run(backend: Backend, path, image, changed) -> Outputs:
    defaults = {name: value.default for name, value in read_info(path).thresholds.items()}
    return backend.run(image, defaults | changed)


@pytest.fixture(scope='module')
def eager(hle_model) -> Backend:
    return open_backend(hle_model, 'torch/eager', 'cpu', threads=1)


@pytest.fixture(
    scope='module',
    params=[
        'onnxruntime/cpu',
        'onnxruntime/cuda',
        'onnxruntime/tensorrt',
        'tensorrt',
        'torch/cudagraph',
        pytest.param('torch/compiled', marks=pytest.mark.slow),
    ],
)  # compiles for minutes
def backend(request, hle_model) -> Backend:
    try:
        return open_backend(hle_model, request.param)
    except BackendError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize('image', IMAGES)
@pytest.mark.parametrize('changed', THRESHOLDS)
def test_engines_agree_with_the_module(backend, eager, hle_model, image, changed):
    expected = run(eager, hle_model, IMAGES[image], changed)
    actual = run(backend, hle_model, IMAGES[image], changed)
    assert [v.dtype for v in actual] == [v.dtype for v in expected]
    assert [v.shape for v in actual] == [v.shape for v in expected]
    # Which of two segments a cell on their edge belongs to may depend on the processor.
    differing = actual.segment_map != expected.segment_map
    assert differing.mean() <= 0.004  # 2 of 512 cells
    assert (actual.semantic_map != expected.semantic_map).mean() <= 0.004
    assert (actual.valid == expected.valid).all()
    on_edge = np.union1d(actual.segment_map[differing], expected.segment_map[differing])
    same = actual.valid & ~np.isin(np.arange(len(actual.valid)) + 1, on_edge)
    np.testing.assert_array_equal(actual.class_id[actual.valid], expected.class_id[actual.valid])
    for name in ('score', 'box', 'centroid', 'area', 'embedding'):
        np.testing.assert_allclose(
            getattr(actual, name)[same], getattr(expected, name)[same], atol=1e-3
        )


def test_some_cases_have_instances_and_some_have_none(eager, hle_model):
    counts = {
        int(run(eager, hle_model, image, changed).valid.sum())
        for image in IMAGES.values()
        for changed in THRESHOLDS
    }
    assert min(counts) == 0 and max(counts) > 5


def test_results_do_not_change_with_the_next_image(backend, hle_model):
    first = run(backend, hle_model, IMAGES['noise'], THRESHOLDS[1])
    kept = [value.copy() for value in first]
    run(backend, hle_model, IMAGES['scene'], THRESHOLDS[2])
    for before, after in zip(kept, first, strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_image_is_not_changed(backend, hle_model):
    image = IMAGES['noise'].copy()
    run(backend, hle_model, image, {})
    assert (image == IMAGES['noise']).all()


def test_attributes_name_what_is_in_use(backend):
    assert backend.name.split('/')[0] in ('onnxruntime', 'tensorrt', 'torch')
    assert backend.device == 'cpu' or backend.device.startswith('cuda:')
    assert (backend.precision, backend.fallback_reason) == ('fp32', '')


def test_the_user_chooses_the_threads(hle_model, eager):
    single = open_backend(hle_model, 'onnxruntime', 'cpu', threads=1)
    np.testing.assert_array_equal(
        run(single, hle_model, IMAGES['scene'], THRESHOLDS[1]).segment_map,
        run(eager, hle_model, IMAGES['scene'], THRESHOLDS[1]).segment_map,
    )


def without_a_weight(graph):
    graph.initializer.remove(next(i for i in graph.initializer if i.name == 'head.weight'))


def with_another_weight(graph):
    graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), 'extra.weight'))


def with_another_shape(graph):
    next(i for i in graph.initializer if i.name == 'head.bias').CopyFrom(
        numpy_helper.from_array(np.zeros(3, np.float32), 'head.bias')
    )


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (without_a_weight, "lacks 1 of .* the first is 'head.weight'"),
        (with_another_weight, "has 1 others, the first is 'extra.weight'"),
        (with_another_shape, r'weight \'head.bias\' must be \(14,\), got \(3,\)'),
    ],
)
def test_weights_that_do_not_fit_the_module_are_refused(hle_model, tmp_path, change, reason):
    model = onnx.load(hle_model)
    change(model.graph)
    path = tmp_path / 'changed.onnx'
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=reason):
        open_backend(path, 'torch', 'cpu')


def test_a_package_that_a_family_lacks_is_a_backend_error(hle_model, monkeypatch):
    def lacks(info):
        raise ImportError('it needs the transformers library; install panoptic_ros[hf]')

    monkeypatch.setattr('panoptic_ros.models.registry.build_model', lacks)
    with pytest.raises(BackendError, match='torch: it needs the transformers library'):
        open_backend(hle_model, 'torch', 'cpu')


def test_outputs_come_in_their_declared_order(tiny_model):
    outputs = open_backend(tiny_model, 'onnxruntime', 'cpu').run(
        paint_scene(*SIZE), {'score_threshold': 0.5, 'min_area': 0}
    )
    assert [(n, v.dtype.name, v.shape) for n, v in zip(OUTPUTS, outputs, strict=True)] == [
        ('segment_map', 'int32', (16, 32)),
        ('semantic_map', 'uint8', (16, 32)),
        ('class_id', 'int32', (6,)),
        ('score', 'float32', (6,)),
        ('box', 'float32', (6, 4)),
        ('centroid', 'float32', (6, 2)),
        ('area', 'int32', (6,)),
        ('embedding', 'float32', (6, 4)),
        ('valid', 'bool', (6,)),
        ('confidence', 'uint8', (16, 32)),
    ]
