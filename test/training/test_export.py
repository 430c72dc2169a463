# SPDX-License-Identifier: Apache-2.0
"""The exported graph and the module: same decoding, one file, operators of all engines."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graphs import assert_same, assert_tensorrt_takes, random_image, run_eager, run_onnx
from roi_graph import make_graph

from panoptic_ros.benchmark.graph import network_alone
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.onnx_graph import TRANSPOSED
from panoptic_ros.models.registry import build, build_model
from panoptic_ros.runtime import BackendError, open_backend
from panoptic_ros.runtime.torch_backend import load_weights
from panoptic_training import export
from panoptic_training.export import export_model

LABELS = LabelSet(
    tuple(
        Label(name, is_thing, (40 * i, 20, 200 - 30 * i), i + 7)
        for i, (name, is_thing) in enumerate(
            [('road', False), ('sky', False), ('car', True), ('person', True)]
        )
    )
)
SMALL = {
    'backbone': 'mobilenetv2_035',
    'separable': True,
    'aspp_channels': 16,
    'low_level_channels': 8,
    'decoder_channels': 16,
    'top_k': 12,
    'min_area': 0.0,
    'min_stuff_area': 0.0,
    'stuff_threshold': 0.3,
    'position_scale': 128.0,
}
SIZES = ((64, 128), (96, 64))


def random_model(**config):
    """A module whose random weights give peaks of both thing classes."""
    torch.manual_seed(3)
    model = build('hle', LABELS, **{**SMALL, **config}).eval()
    with torch.no_grad():
        for name, value in model.named_buffers():  # statistics as after training, not 0 and 1
            if name.endswith('running_mean'):
                value.normal_(0, 0.1)
            elif name.endswith('running_var'):
                value.uniform_(0.3, 1.0)
        first = sum(model.channels[:1])
        model.head.weight.normal_(0, 0.5)
        model.head.bias[first] = -1.2  # log sigma
    return model


@pytest.fixture(scope='module', autouse=True)
def weights_of_small_models_are_stored_in_half():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, 'SMALL', 256)
        yield


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The module of two files, and these by how they store weights; exports are what takes time.

    They decode otherwise than the module.
    """
    model, folder = random_model(stride=2, top_k=20), tmp_path_factory.mktemp('export')
    for name in ('float32', 'float16', 'half'):
        export_model(
            model,
            folder / f'{name}.onnx',
            SIZES[0],
            name='test',
            stride=4,
            top_k=12,
            half_weights=name == 'float16',
            precision='fp16' if name == 'half' else 'fp32',
            scores={'pq': 61.5},
            recipe_hash='ab',
        )
    return model, {path.stem: path for path in folder.iterdir()}


def instances(out):
    return int((out['valid'] & LABELS.is_thing[out['class_id']]).sum())


@pytest.mark.parametrize(
    ('config', 'why'),
    [
        ({'stride': 4}, 'the fast decoding'),
        ({'stride': 1}, 'the full decoding'),
        (
            {
                'stride': 2,
                'space': 'split',
                'seg_branch': True,
                'spatial_sigma': 'predicted',
                'flip': True,
            },
            'every switch of the network',
        ),
    ],
)
def test_graph_equals_module(tmp_path, config, why):
    size = SIZES[config['stride'] == 4]  # two sizes over the configurations
    model = random_model(**config)
    path, image = tmp_path / 'model.onnx', random_image(size)
    export_model(model, path, size, name='test')
    scores = np.sort(run_eager(model, image, {'score_threshold': 0.0})['score'][:12])[::-1]
    between = float(scores[0] + scores[1]) / 2
    counts = []
    for thresholds in (
        {},
        {'score_threshold': 1.0},
        {'score_threshold': between},
        {'score_threshold': 0.0, 'merge_threshold': 0.999},
    ):
        expected = run_eager(model, image, thresholds)
        assert_same(run_onnx(path, image, thresholds), expected)
        counts.append(instances(expected))
    assert counts[1] == 0
    assert counts[2] == 1
    # More local maxima than K: all K rows hold seeds, and no two seeds merge.
    assert counts[3] > 4, why
    assert_tensorrt_takes(path)


def test_half_weights_halve_the_file_and_change_little(files):
    whole, half = (files[1][name] for name in ('float32', 'float16'))
    assert half.stat().st_size < 0.75 * whole.stat().st_size
    image = random_image(SIZES[0])
    a, b = run_onnx(whole, image, {}), run_onnx(half, image, {})
    # Random weights make much of the rounding; weights in disorder would agree by chance only.
    assert (a['semantic_map'] == b['semantic_map']).mean() > 0.8


@pytest.mark.parametrize('stored', ['float32', 'float16'])
def test_torch_backend_loads_the_module_from_the_file(files, stored):
    path, image = files[1][stored], random_image(SIZES[0], seed=2)
    thresholds = {name: t.default for name, t in read_info(path).thresholds.items()}
    backend = open_backend(path, backend='torch', device='cpu')
    assert_same(backend.run(image, thresholds)._asdict(), run_onnx(path, image, {}))


def test_half_precision_of_the_network(files):
    path, image = files[1]['half'], random_image(SIZES[0])
    assert [read_info(files[1][name]).precision for name in files[1]].count('fp16') == 1
    assert read_info(path).precision == 'fp16'
    graph = onnx.load(path).graph
    values = onnx.shape_inference.infer_shapes(onnx.load(path)).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    layers = [node for node in graph.node if node.op_type == 'Conv']
    assert len(layers) > 50
    assert {types.get(node.output[0]) for node in layers} == {half}
    assert {weights[node.input[1]] for node in layers} == {half}, 'without a Cast'
    assert types['maps_head'] == single
    a, b = (run_onnx(files[1][name], image, {}) for name in ('float32', 'half'))
    assert (a['semantic_map'] == b['semantic_map']).mean() > 0.8  # weights are random
    # Sums over cells would not be exact in half precision.
    np.testing.assert_array_equal(
        np.bincount(b['segment_map'].ravel(), minlength=len(b['valid']) + 1)[1:][b['valid']],
        b['area'][b['valid']],
    )


def test_the_benchmark_runs_the_network_of_a_file_in_half_precision(files):
    path, image = files[1]['half'], random_image(SIZES[0])
    network = network_alone(path, open_backend(path, device='cpu'), 1)
    [maps] = network(image)
    assert (maps.dtype, maps.shape[2:]) == (np.float32, (SIZES[0][0] // 4, SIZES[0][1] // 4))


def test_torch_runs_a_file_in_half_precision_in_float32(files):
    path, image = files[1]['half'], random_image(SIZES[0])
    thresholds = {name: t.default for name, t in read_info(path).thresholds.items()}
    backend = open_backend(path, backend='torch', device='cpu')
    assert backend.precision == 'fp32'
    ours = backend.run(image, thresholds).semantic_map
    assert (ours == run_onnx(path, image, {})['semantic_map']).mean() > 0.8
    with pytest.raises(BackendError, match='torch computes in fp32, got precision fp16'):
        open_backend(path, backend='torch', device='cpu', precision='fp16')
    backend = open_backend(path, precision='fp16', device='cpu')
    assert (backend.name, backend.precision) == ('onnxruntime/cpu', 'fp16')


def test_metadata_builds_the_module_again(files):
    model, paths = files
    info = read_info(paths['float32'])
    again = build_model(info)
    assert again.config.top_k == 12
    assert again.config.stride == info.stride == 4
    assert again.state_dict().keys() == model.state_dict().keys()
    assert (info.scores['pq'], info.recipe_hash, info.labels) == (61.5, 'ab', LABELS)
    assert model.config.stride == 2, 'the module itself is left as it was'


def test_a_file_is_exported_again(tmp_path):
    model, image = random_model(stride=2), random_image(SIZES[0])
    files = tmp_path / 'first.onnx', tmp_path / 'second.onnx'
    for path in files:
        export_model(model, path, SIZES[0], name='test')
        model = build_model(read_info(path))
        load_weights(model, path)
    assert_same(*(run_onnx(path, image, {}) for path in files))


@pytest.mark.parametrize('stored', ['float16', 'half'])
def test_half_needs_no_other_operators(files, stored):
    assert_tensorrt_takes(files[1][stored])


def test_file_names_head_output_and_no_paths(files):
    path = files[1]['float32']
    assert any('maps_head' in node.output for node in onnx.load(path).graph.node)
    data = path.read_bytes()
    for trace in (b'site-packages', b'.py', str(Path(__file__).parents[2]).encode()):
        assert trace not in data


@pytest.mark.parametrize('grid_sample', [False, True])
def test_roi_align_is_written_as_what_was_asked_for(monkeypatch, tmp_path, grid_sample):
    monkeypatch.setattr(export, 'build_graph', lambda *_: make_graph((8, 8), 4, 0.5))
    monkeypatch.setattr(
        'panoptic_ros.runtime.self_check.make_reference', lambda *_: None
    )  # no whole graph
    path = tmp_path / 'a.onnx'
    export_model(random_model(), path, SIZES[0], name='a', grid_sample=grid_sample)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert kinds & {'RoiAlign', 'GridSample'} == {'GridSample' if grid_sample else 'RoiAlign'}


def test_export_refuses_other_suffixes(tmp_path):
    with pytest.raises(ValueError, match=r'ends in \.onnx, got model\.pt'):
        export_model(random_model(), tmp_path / 'model.pt', SIZES[0], name='x')


def test_a_model_over_2_gib_is_refused_before_the_export(monkeypatch, tmp_path):
    model = random_model()
    full = sum(4 * w.numel() for w in (*model.parameters(), *model.buffers()))
    monkeypatch.setattr(export, 'build_graph', lambda *_: pytest.fail('the export has started'))
    monkeypatch.setattr(export, 'MAX_FILE_BYTES', 0.8 * full)
    with pytest.raises(ValueError, match=r'holds less than .*; --weights fp16 stores them in '):
        export_model(model, tmp_path / 'a.onnx', SIZES[0], name='a')
    monkeypatch.setattr(export, 'MAX_FILE_BYTES', 0.4 * full)
    for half in (False, True):
        with pytest.raises(ValueError, match='this model is too large for one file'):
            export_model(model, tmp_path / 'a.onnx', SIZES[0], name='a', half_weights=half)
    monkeypatch.setattr(export, 'MAX_FILE_BYTES', 0.8 * full)
    with pytest.raises(pytest.fail.Exception, match='has started'):
        export_model(model, tmp_path / 'a.onnx', SIZES[0], name='a', half_weights=True)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    model = random_model()
    with torch.no_grad():
        model.head.bias[1] = value
    with pytest.raises(ValueError, match=r'weights are not finite, e\.g\. head\.bias'):
        export_model(model, tmp_path / 'a.onnx', SIZES[0], name='a')
    assert not (tmp_path / 'a.onnx').exists()


def test_weights_too_large_for_float16_are_refused():
    # A merged batch norm may make them so; those for half_precision.py are tested there.
    weight = np.full((1, 1, 16, 32), 7e4, np.float32)
    tensor = onnx.numpy_helper.from_array(weight, f'a.weight{TRANSPOSED}')
    graph = onnx.helper.make_graph([], 'g', [], [], [tensor])
    with pytest.raises(ValueError, match=r'the weight a\.weight is larger than float16 holds'):
        export.store_as_half(onnx.helper.make_model(graph))
