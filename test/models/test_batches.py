# SPDX-License-Identifier: Apache-2.0
"""Graphs and modules that take several images at once: the results of single images."""

import onnx
import pytest
from graphs import assert_same, assert_tensorrt_rtx_builds, assert_tensorrt_takes, random_image
from small_models import untrained
from tiny_model import LABELS

from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.model_info import Outputs
from panoptic_ros.models.registry import FAMILIES
from panoptic_ros.runtime import open_backend
from panoptic_ros.runtime.batch import run_images
from panoptic_ros.runtime.cpu_graph import rewrite_for_cpu
from panoptic_training.export import export_model
from panoptic_training.module_backend import ModuleBackend, model_info
from panoptic_training.quantization import quantize

SIZE = (64, 128)
TRAINED = sorted(name for name, row in FAMILIES.items() if row.loss is not None)


def images_and_thresholds(info):
    """Three images, of which the last one leaves a place of a batch of two empty; the thresholds
    differ between them, and those of the second find nothing."""
    defaults = {name: value.default for name, value in info.thresholds.items()}
    thresholds = [defaults, defaults | {'score_threshold': 1.0}, defaults | {'min_area': 0.0}]
    return [random_image(SIZE, seed) for seed in range(3)], thresholds


def assert_alike(found: list[Outputs], expected: list[Outputs]) -> None:
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours._asdict(), theirs._asdict())


def results_of(model, batch):
    """Return the outputs of a module for each image, `batch` images at once."""
    info = model_info(model, SIZE)
    object.__setattr__(info, 'batch', batch)
    return run_images(ModuleBackend(model).run, info, *images_and_thresholds(info))


@pytest.mark.parametrize('family', TRAINED)
def test_a_module_gives_the_results_of_single_images(family):
    model = untrained(family, SIZE, **FAMILIES[family].small)
    single = results_of(model, 1)
    things = [int((o.valid & LABELS.is_thing[o.class_id]).sum()) for o in single]
    assert things[0] or things[2], things
    assert_alike(results_of(model, 2), single)


@pytest.fixture(
    scope='module',
    params=[pytest.param(one, marks=() if one == 'hle' else pytest.mark.slow) for one in TRAINED],
)
def exported(request, tmp_path_factory):
    """Module and model file of a batch of two; exports take time."""
    model = untrained(request.param, SIZE, **FAMILIES[request.param].small)
    path = tmp_path_factory.mktemp('batch') / 'batch.onnx'
    export_model(model, path, SIZE, name='batch', batch=2)
    return model, path


@pytest.mark.parametrize('backend', ['onnxruntime', 'torch'])
def test_a_graph_gives_the_results_of_single_images(exported, backend):
    model, path = exported
    info = read_info(path)
    assert (info.batch, info.image_shape, info.threshold_shape) == (2, (2, *SIZE, 3), (2,))
    run = open_backend(path, backend, 'cpu').run
    found = run_images(run, info, *images_and_thresholds(info))
    assert_alike(found, results_of(model, 1))


def test_both_decodings_are_rewritten_for_the_cpu(exported):
    graph = onnx.load(exported[1])

    def scatters() -> int:
        return [node.op_type for node in graph.graph.node].count('ScatterElements')

    before = scatters()
    assert rewrite_for_cpu(graph)
    assert scatters() - before >= 2
    assert (scatters() - before) % 2 == 0


def test_tensorrt_takes_and_builds_the_graph(exported):
    assert_tensorrt_takes(exported[1])
    assert_tensorrt_rtx_builds(exported[1])


def test_a_graph_of_a_batch_can_be_quantised(exported, tmp_path):
    model, path = exported
    if model.family != 'hle':
        return  # one graph is enough
    images = [random_image(SIZE, seed) for seed in range(2)]
    info, layers = quantize(path, images, tmp_path / 'int8.onnx')
    assert (info.batch, info.precision) == (2, 'int8')
    assert layers > 10
    backend = open_backend(tmp_path / 'int8.onnx', 'onnxruntime', 'cpu', precision='int8')
    defaults = {name: value.default for name, value in info.thresholds.items()}
    first, second, again = run_images(
        backend.run, info, [images[0], images[1], images[0]], [defaults] * 3
    )
    assert_same(again._asdict(), first._asdict())
    assert (first.semantic_map != second.semantic_map).any()
