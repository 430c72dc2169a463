# SPDX-License-Identifier: Apache-2.0
"""Choice of a backend, and messages about what is missing."""

import builtins
import sys
from dataclasses import replace

import onnx
import onnxruntime
import pytest
from tiny_model import tiny_graph, tiny_info

from panoptic_ros.core.model_file import METADATA_KEY, ModelFileError, read_info, write_model_file
from panoptic_ros.runtime import BACKENDS, BackendError, available_backends, gpu, open_backend
from panoptic_ros.runtime import select as selection
from panoptic_ros.runtime.onnxruntime_backend import open_session


@pytest.fixture
def no_gpu(monkeypatch):
    for module in (gpu, selection):
        monkeypatch.setattr(module, 'gpu_names', tuple)


@pytest.fixture
def one_gpu(monkeypatch):
    """A driver that lists a GPU, and engines that cannot use it."""
    if gpu.gpu_names():
        pytest.skip('there is a real GPU here')
    for module in (gpu, selection):
        monkeypatch.setattr(module, 'gpu_names', lambda: ('Test GPU',))


def test_a_machine_without_gpu_gets_onnxruntime_on_its_cpu(tiny_model, no_gpu):
    backend = open_backend(tiny_model)
    assert (backend.name, backend.device, backend.fallback_reason) == (
        'onnxruntime/cpu',
        'cpu',
        '',
    )


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        ({'device': 'cuda'}, 'no NVIDIA GPU or driver was found; install'),
        ({'device': 'cuda:1'}, 'no NVIDIA GPU or driver was found; install'),
        ({'backend': 'tensorrt'}, 'no NVIDIA GPU or driver was found; install'),
        ({'backend': 'torch/cudagraph'}, 'no NVIDIA GPU or driver was found; install'),
        (
            {'backend': 'tensorrt'},
            "backend 'tensorrt' needs a GPU: .* or set the backend to auto or allow_cpu to true",
        ),
        ({'device': 'cuda'}, "device 'cuda' is not available: .* or set the device to cpu"),
        (
            {'backend': 'onnxruntime/cuda', 'device': 'cpu'},
            'provider cuda does not run on device cpu',
        ),
        ({'backend': 'tensorrt', 'device': 'cpu'}, 'tensorrt needs a GPU'),
        ({'backend': 'onnxruntime/openvoni'}, "has no provider 'openvoni' here, only cpu"),
        (
            {'backend': 'openvino'},
            'backend must be one of auto, tensorrt, tensorrt_rtx, onnxruntime, torch',
        ),
        ({'backend': 'auto/cuda'}, 'backend must be one of'),
        ({'device': 'gpu'}, "device must be auto, cpu, cuda or cuda:<index>, got 'gpu'"),
        ({'precision': 'fp8'}, 'precision must be one of auto, fp32, fp16, int8'),
        (
            {'precision': 'fp16'},
            'tiny.onnx computes in fp32, got precision fp16; `panoptic export --precision fp16` ',
        ),
        (
            {'precision': 'int8', 'allow_cpu': True},
            'tiny.onnx computes in fp32, got precision int8; `panoptic quantize` makes such a ',
        ),
    ],
)
def test_what_is_not_available_is_refused_in_one_line(tiny_model, no_gpu, arguments, reason):
    with pytest.raises(BackendError, match=reason) as caught:
        open_backend(tiny_model, **arguments)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'arguments',
    [
        {'device': 'cuda'},
        {'device': 'cuda:1', 'backend': 'onnxruntime'},
        {'backend': 'tensorrt'},
        {'backend': 'onnxruntime/cuda'},
        {'device': 'cuda', 'precision': 'fp32'},
    ],
)
def test_allow_cpu_falls_back_with_a_reason(tiny_model, no_gpu, arguments):
    backend = open_backend(tiny_model, allow_cpu=True, **arguments)
    assert (backend.name, backend.device, backend.precision) == ('onnxruntime/cpu', 'cpu', 'fp32')
    assert 'no NVIDIA GPU or driver was found' in backend.fallback_reason


def test_a_gpu_that_the_driver_does_not_list(tiny_model, one_gpu):
    with pytest.raises(BackendError, match='the driver lists 1 GPU, Test GPU'):
        open_backend(tiny_model, device='cuda:1')


def test_a_requested_gpu_without_an_engine_is_an_error(tiny_model, one_gpu):
    with pytest.raises(BackendError, match=r'has no cuda provider .* onnxruntime-gpu'):
        open_backend(tiny_model, 'onnxruntime', 'cuda')


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_the_precision_follows_the_file(tmp_path, no_gpu, monkeypatch, precision):
    info = replace(tiny_info(), precision=precision)
    write_model_file(tiny_graph(info), info, tmp_path / 'a.onnx')
    assert read_info(tmp_path / 'a.onnx') == info
    for asked in ('auto', precision):
        backend = open_backend(tmp_path / 'a.onnx', precision=asked)
        assert (backend.name, backend.precision) == ('onnxruntime/cpu', precision)


def test_options_of_the_tensorrt_provider_follow_the_file(monkeypatch):
    asked = []
    monkeypatch.setattr(
        onnxruntime, 'InferenceSession', lambda graph, options, providers: asked.append(providers)
    )
    for precision in ('fp32', 'fp16', 'int8'):
        open_session('a.onnx', 'tensorrt', 0, precision)
    flags = [(o['trt_fp16_enable'], o['trt_int8_enable']) for ((_, o), *_) in asked]
    assert flags == [(False, False), (True, False), (False, True)]


def test_a_gpu_without_an_engine_is_a_fallback_reason_with_auto(tiny_model, one_gpu):
    backend = open_backend(tiny_model)
    assert backend.device == 'cpu'
    assert 'pip install tensorrt' in backend.fallback_reason
    assert 'pip install onnxruntime-gpu' in backend.fallback_reason


@pytest.mark.parametrize(
    ('engine', 'package'), [('onnxruntime', 'onnxruntime'), ('torch', 'torch')]
)
def test_a_missing_package_is_named_with_its_installation(
    tiny_model, monkeypatch, no_gpu, engine, package
):
    real = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == package:
            raise ImportError(f'No module named {name!r}')
        return real(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(BackendError, match=f'{package}.* cannot be imported .*pip install'):
        open_backend(tiny_model, engine, 'cpu')


def test_available_backends_gives_a_reason_for_each_that_is_not(no_gpu):
    reasons = available_backends()
    assert tuple(reasons) == BACKENDS
    assert reasons['onnxruntime'] == ''
    assert reasons['tensorrt']


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b'')


def cut_short(path):
    path.write_bytes(path.read_bytes()[:3000])


def text(path):
    path.write_text('version https://git-lfs.github.com/spec/v1\n')


def no_metadata(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


def damaged_metadata(path):
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: '{"name": "x"}'})
    onnx.save(model, path)


def unknown_operator(path):
    model = onnx.load(path)
    model.graph.node[0].op_type = 'NoSuchOperator'
    onnx.save(model, path)


@pytest.mark.parametrize('backend', ['auto', 'onnxruntime', 'torch'])
@pytest.mark.parametrize(
    'damage', [missing, empty, cut_short, text, no_metadata, damaged_metadata, unknown_operator]
)
def test_a_bad_model_file_is_refused_in_one_line(tiny_model, tmp_path, no_gpu, damage, backend):
    if (damage, backend) == (unknown_operator, 'torch'):
        pytest.importorskip('torch')  # the other files are refused before it is imported
    path = tmp_path / 'bad.onnx'
    path.write_bytes(tiny_model.read_bytes())
    damage(path)
    with pytest.raises(ModelFileError, match=r'bad\.onnx') as caught:
        open_backend(path, backend)
    assert '\n' not in str(caught.value)
