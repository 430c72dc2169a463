# SPDX-License-Identifier: Apache-2.0
"""Graphs that are repeated for the images of a batch."""

import numpy as np
import onnx
import pytest
from graphs import assert_tensorrt_takes
from tiny_model import make_tiny_model, paint_scene

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import ModelFileError, info_from_onnx, load_onnx, read_info
from panoptic_ros.runtime import Predictor, open_backend
from panoptic_ros.runtime.batch import graph_inputs, run_images, split_outputs
from panoptic_ros.runtime.predictor import NetworkInput


def scenes():
    """Images of one size, and thresholds of which the second leaves one segment."""
    images = [paint_scene(64, 128), paint_scene(64, 128)[:, ::-1].copy(), np.zeros_like(PIXELS)]
    thresholds = [{'score_threshold': value, 'min_area': 1.0} for value in (0.5, 0.88, 0.0)]
    return images, thresholds


PIXELS = paint_scene(64, 128)


@pytest.fixture(scope='module', params=[0, 3], ids=['plain', 'with a loop'])
def files(request, tmp_path_factory):
    """Model files of one image and of two."""
    folder = tmp_path_factory.mktemp('batching')
    return [
        make_tiny_model(folder / f'{batch}.onnx', work=request.param, batch=batch)
        for batch in (1, 2)
    ]


def test_each_image_has_the_results_that_it_has_alone(files):
    (single, double), (images, thresholds) = files, scenes()
    results = [
        run_images(
            open_backend(path, 'onnxruntime', 'cpu').run, read_info(path), images, thresholds
        )
        for path in (single, double)
    ]
    assert [int(outputs.valid.sum()) for outputs in results[0]] == [4, 1, 0]
    for alone, together in zip(*results, strict=True):
        for name in alone._fields:
            ours, theirs = getattr(together, name), getattr(alone, name)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_weights_exist_once_and_casts_of_outputs_are_last(files):
    single, double = (onnx.load(path).graph for path in files)
    size = [sum(len(t.raw_data) for t in graph.initializer) for graph in (single, double)]
    assert size[1] <= size[0] + 100
    makers = {name: node.op_type for node in double.node for name in node.output}
    assert {makers[name] for name in ('semantic_map', 'confidence')} == {'Cast'}
    assert [n.op_type for n in double.node if 'image' in n.input] == ['Cast']
    onnx.checker.check_model(onnx.load(files[1]), full_check=True)
    assert_tensorrt_takes(files[1])


def test_the_predictor_fills_empty_places_with_the_last_image(files):
    predictors = [
        Predictor(open_backend(path, 'onnxruntime', 'cpu'), read_info(path)) for path in files
    ]
    image = CameraImage(paint_scene(48, 96))
    frames = [predictor.predict(image) for predictor in predictors]
    assert frames[0].segments.tobytes() == frames[1].segments.tobytes()
    np.testing.assert_array_equal(frames[0].segment_map, frames[1].segment_map)

    info = read_info(files[1])
    images, thresholds = scenes()
    pixels, scalars = graph_inputs(info, images[1:2], thresholds[1:2])
    np.testing.assert_array_equal(pixels, np.stack([images[1]] * 2))
    assert scalars['score_threshold'].tolist() == [np.float32(0.88)] * 2


def test_one_image_more_than_the_batch_is_a_run_of_its_own(files):
    predictor = Predictor(open_backend(files[1], 'onnxruntime', 'cpu'), read_info(files[1]))
    runs = []
    run = predictor.backend.run
    predictor.backend.run = lambda image, thresholds: (
        runs.append(image.shape) or run(image, thresholds)
    )
    pixels, geometry = predictor.prepare(CameraImage(PIXELS))
    assert len(predictor.run_together([NetworkInput(pixels, geometry)] * 3)) == 3
    assert runs == [(2, 64, 128, 3)] * 2


def test_outputs_of_an_earlier_version_are_split_too(files):
    info = read_info(files[1])
    images, thresholds = scenes()
    backend = open_backend(files[1], 'onnxruntime', 'cpu')
    stacked = backend.run(*graph_inputs(info, images, thresholds[:2]))
    parts = split_outputs(stacked._replace(confidence=None), 2)
    assert [part.confidence for part in parts] == [None, None]


@pytest.mark.parametrize('batch', [0, 65, 1.5, True])
def test_a_batch_that_is_none_is_refused(files, batch):
    model = load_onnx(files[0])
    (entry,) = (e for e in model.metadata_props if e.key == 'panoptic_ros')
    entry.value = entry.value.replace('"batch": 1', f'"batch": {str(batch).lower()}')
    with pytest.raises(ModelFileError, match='batch must be a whole number from 1 to 64, got'):
        info_from_onnx(model, files[0])


def test_a_graph_of_another_batch_than_the_metadata_says_is_refused(files):
    model = load_onnx(files[1])
    (entry,) = (e for e in model.metadata_props if e.key == 'panoptic_ros')
    entry.value = entry.value.replace('"batch": 2', '"batch": 3')
    with pytest.raises(ModelFileError, match=r'graph inputs .* must be .*3, 64, 128, 3'):
        info_from_onnx(model, files[1])
