# SPDX-License-Identifier: Apache-2.0
"""Models whose outputs do not agree with their description are refused when opened."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_model import LABELS, tiny_graph, tiny_info

from panoptic_ros import LabelSet
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import ModelFileError, read_info, write_model_file
from panoptic_ros.node.model_loading import load_model
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.runtime import BackendError, Predictor, open_backend
from panoptic_ros.runtime.trial import check_predictions, color_chart


class Changed:
    """A backend that changes another one's outputs."""

    name = device = 'test'

    def __init__(self, backend, change):
        self.backend, self.change, self.images = backend, change, []

    def run(self, image, thresholds):
        self.images.append(image.copy())
        outputs = self.backend.run(image, thresholds)
        return outputs._replace(**self.change(outputs)) if self.change else outputs


@pytest.fixture(scope='module')
def backend(tiny_model):
    return open_backend(tiny_model, 'onnxruntime', 'cpu')


def put(name, place, value):
    """A change of some elements of an output."""

    def change(outputs):
        array = getattr(outputs, name).copy()
        array[place] = value
        return {name: array}

    return change


def test_the_trial_is_two_images_one_of_them_padded(backend):
    tried = Changed(backend, None)
    check_predictions(tried, tiny_info())
    black, chart = tried.images
    assert not black.any()
    assert (chart[:, 86:] == 102).all() and len(np.unique(chart[:, :85])) > 200


def test_the_chart_has_segments_of_all_kinds(backend):
    frame = Predictor(backend, tiny_info()).predict(CameraImage(color_chart(48, 64)), 0)
    assert set(frame.segments['class_id']) == set(range(len(LABELS)))


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (6000, 10)])
def test_a_chart_of_any_size(size):
    assert color_chart(*size).shape == (*size, 3)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda o: {'segment_map': o.segment_map[1:]}, r'segment_map must be int32 \[16, 32\]'),
        (lambda o: {'semantic_map': o.semantic_map[None]}, 'semantic_map must be'),
        (lambda o: {'segment_map': o.segment_map.astype(np.int64)}, 'segment_map .* got int64'),
        (lambda o: {'class_id': o.class_id.astype(np.int64)}, 'class_id must be int32'),
        (lambda o: {'score': o.score.astype(np.float16)}, 'score must be float32'),
        (lambda o: {'score': o.score[:5]}, r'score must be float32 \[6\]'),
        (lambda o: {'box': o.box[:, :3]}, r'box must be float32 \[6, 4\]'),
        (lambda o: {'embedding': o.embedding[:, :3]}, r'embedding must be float32 \[6, 4\]'),
        (lambda o: {'valid': o.valid.astype(np.uint8)}, 'valid must be bool'),
        (lambda o: {'valid': o.valid[0]}, 'class_id must be'),
        (put('class_id', 0, 4), 'class_id has values outside 0 to 3'),
        (put('class_id', 0, -1), 'class_id has values'),
        (put('score', 0, np.nan), 'score has values .* or NaN'),
        (put('score', 0, 1.5), 'score has values'),
        (put('score', 0, -0.5), 'score has values'),
        (put('box', (0, 2), np.inf), 'box has values'),
        (put('box', (0, 2), 40), 'box has values'),
        (put('box', (0, slice(None)), 3), 'right or bottom lies before'),
        (put('centroid', (0, 1), np.nan), 'centroid has values'),
        (put('area', 0, -1), 'area has values'),
        (put('area', 0, 513), 'area has values'),
        (put('embedding', (0, 0), np.nan), 'embedding has values'),
        (put('segment_map', (0, 0), 7), 'segment_map has ids'),
        (put('segment_map', (0, 0), -1), 'segment_map has ids'),
        (put('valid', 0, False), 'segment_map has ids'),
        (put('semantic_map', (0, 0), 4), 'semantic_map has classes other than 0 to 3'),
    ],
)
def test_outputs_that_do_not_fit_are_refused(backend, change, reason):
    with pytest.raises(ModelFileError, match=reason):
        check_predictions(Changed(backend, change), tiny_info())


def test_rows_that_are_not_valid_may_hold_anything(backend):
    def change(outputs):
        none = ~outputs.valid
        return {
            'score': np.where(none, np.nan, outputs.score).astype(np.float32),
            'class_id': np.where(none, 300, outputs.class_id).astype(np.int32),
        }

    check_predictions(Changed(backend, change), tiny_info())


def constant_output(model, name, values):
    """Replace one output of a graph by constant values."""
    for node in model.graph.node:
        node.output[:] = [f'{o}_before' if o == name else o for o in node.output]
        node.input[:] = [f'{i}_before' if i == name else i for i in node.input]
    model.graph.node.append(
        helper.make_node('Constant', [], [name], value=numpy_helper.from_array(np.asarray(values)))
    )


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the tiny model with another graph or other metadata."""

    def write(change=lambda model: None, **values):
        info = tiny_info()
        model = tiny_graph(info)
        change(model)
        write_model_file(model, dataclasses.replace(info, **values), tmp_path / 'odd.onnx')
        return tmp_path / 'odd.onnx'

    return write


@pytest.mark.parametrize(
    ('change', 'values', 'reason'),
    [
        (lambda m: None, {'stride': 2}, r'segment_map must be int32 \[32, 64\]'),
        (lambda m: None, {'embedding_dim': 5}, r'embedding must be float32 \[6, 5\]'),
        (lambda m: None, {'labels': LabelSet(LABELS.labels[:3])}, 'class_id has values'),
        (
            lambda m: constant_output(m, 'score', np.full(6, np.nan, np.float32)),
            {},
            'score has values',
        ),
        (
            lambda m: constant_output(m, 'class_id', np.full(6, 200, np.int32)),
            {},
            'class_id has values',
        ),
        (
            lambda m: constant_output(m, 'embedding', np.full((6, 4), np.inf, np.float32)),
            {},
            'embedding has values',
        ),
    ],
)
@pytest.mark.parametrize(
    'opened',
    [
        lambda path: open_backend(path, 'onnxruntime', 'cpu'),
        lambda path: load_model(
            read_parameters(None) | {'model': str(path), 'backend': 'onnxruntime', 'device': 'cpu'}
        ),
    ],
)
def test_a_file_with_such_outputs_is_refused_in_one_line(write, change, values, reason, opened):
    with pytest.raises(ModelFileError, match=rf'odd\.onnx: output .*{reason}|{reason}') as caught:
        opened(write(change, **values))
    assert 'odd.onnx' in str(caught.value) and '\n' not in str(caught.value)


def test_a_graph_that_fails_at_run_time_is_a_backend_error(write):
    def change(model):  # a cell beyond the last one, found only at run time
        constant_output(model, 'area_index', np.int64([9]))
        constant_output(model, 'area', np.int32([1] * 6))
        node = model.graph.node.pop()
        model.graph.node.append(
            helper.make_node('Constant', [], ['areas'], value=node.attribute[0].t)
        )
        model.graph.node.append(helper.make_node('Gather', ['areas', 'area_index'], ['area']))
        del model.graph.output[6].type.tensor_type.shape.dim[:]
        model.graph.output[6].type.tensor_type.shape.dim.add().dim_param = 'n'

    with pytest.raises(BackendError, match=r'cannot run the model .*odd\.onnx'):
        open_backend(write(change), 'onnxruntime', 'cpu')


@pytest.mark.parametrize('dtype', [np.float32, np.float16])
def test_weights_with_nan_are_refused(write, dtype):
    def change(model):
        model.graph.initializer.append(
            numpy_helper.from_array(np.array([1, np.nan], dtype), 'conv.weight')
        )

    with pytest.raises(ModelFileError, match=r"odd\.onnx: weight 'conv\.weight' has NaN"):
        open_backend(write(change), 'onnxruntime', 'cpu')


@pytest.mark.parametrize('engine', ['onnxruntime', 'torch'])
def test_weights_of_a_wrong_length_are_refused(write, engine):
    def change(model):
        model.graph.initializer.append(
            TensorProto(
                name='conv.weight', dims=[3], data_type=TensorProto.FLOAT, raw_data=bytes(8)
            )
        )

    with pytest.raises(ModelFileError, match=r"odd\.onnx: weight 'conv\.weight' is damaged"):
        open_backend(write(change), engine, 'cpu')


def test_infinite_constants_are_accepted(write):
    def change(model):
        model.graph.initializer.append(
            numpy_helper.from_array(np.float32([-np.inf]), 'mask_value')
        )

    assert open_backend(write(change), 'onnxruntime', 'cpu')


def test_the_tiny_model_has_its_description(tiny_model):
    onnx.checker.check_model(onnx.load(tiny_model))
    assert read_info(tiny_model) == tiny_info()
