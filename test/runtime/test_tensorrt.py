# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend's own work: engine cache, memory, copies.

TensorRT is not to be had where these tests run. Stand-ins with the signatures of its bindings
10.16 and of cuda-bindings 13 take its place: host memory for the device's, ONNX Runtime for the
engine.
"""

import ctypes
import gc
import sys
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from tiny_model import paint_scene

from panoptic_ros.core.files import lock_folder
from panoptic_ros.core.model_file import ModelFileError, file_hash
from panoptic_ros.core.model_info import OUTPUTS
from panoptic_ros.runtime import BackendError, gpu, open_backend, select, tensorrt_backend

THRESHOLDS = {'score_threshold': 0.7, 'min_area': 0.0}


class Status(Enum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2


class Device:
    """cuda.bindings.runtime with host memory."""

    cudaError_t = Status
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self):
        self.memory, self.streams, self.full = {}, 0, False

    def cudaSetDevice(self, index):
        assert index == 0
        return (Status.cudaSuccess,)

    def cudaMalloc(self, size):
        if self.full:
            return Status.cudaErrorMemoryAllocation, None
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return Status.cudaSuccess, ctypes.addressof(buffer)

    def cudaFree(self, address):
        del self.memory[address]
        return (Status.cudaSuccess,)

    def cudaStreamCreate(self):
        self.streams += 1
        return Status.cudaSuccess, 7

    def cudaStreamDestroy(self, stream):
        self.streams -= 1
        return (Status.cudaSuccess,)

    def cudaMemcpyAsync(self, to, source, size, kind, stream):
        assert stream == 7
        assert (to if kind == 1 else source) in self.memory
        ctypes.memmove(to, source, size)
        return (Status.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        return (Status.cudaSuccess,)


DTYPES = {
    'tensor(uint8)': np.uint8,
    'tensor(float)': np.float32,
    'tensor(int32)': np.int32,
    'tensor(bool)': np.bool_,
}


class Engine:
    """An engine, and the context that runs it."""

    def __init__(self, plan, device):
        self.session = ort.InferenceSession(plan)
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.values = {
            v.name: v for v in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self.num_io_tensors = len(self.values)
        self.addresses, self.device = {}, device

    def get_tensor_name(self, index):
        return list(self.values)[index]

    def get_tensor_shape(self, name):
        return self.values[name].shape

    def get_tensor_dtype(self, name):
        return DTYPES[self.values[name].type]

    def create_execution_context(self):
        return self

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        def view(name):
            return np.frombuffer(
                self.device.memory[self.addresses[name]], self.get_tensor_dtype(name)
            ).reshape(self.get_tensor_shape(name))

        results = self.session.run(OUTPUTS, {name: view(name) for name in self.inputs})
        for name, result in zip(OUTPUTS, results, strict=True):
            view(name)[...] = result
        return True


class Builder:
    """tensorrt.Builder whose plan is the ONNX file itself."""

    built = 0

    def create_network(self, flags):
        return SimpleNamespace()

    def create_builder_config(self):
        return SimpleNamespace(clear_flag=lambda flag: None, set_flag=self.precision.append)

    def build_serialized_network(self, network, config):
        Builder.built += 1
        return memoryview(network.plan)


@pytest.fixture
def device(monkeypatch):
    device, trt, cuda = Device(), ModuleType('tensorrt'), ModuleType('cuda.bindings')

    def parse_from_file(network, path):
        network.plan = Path(path).read_bytes()
        return device.parses

    device.parses = True
    device.flags = Builder.precision = []
    Builder.built = 0
    trt.__version__ = '10.16'
    trt.Logger = type('Logger', (), {'ERROR': 1, '__init__': lambda self, severity: None})
    trt.Builder = lambda logger: Builder()
    trt.BuilderFlag = SimpleNamespace(TF32='tf32', FP16='fp16')
    trt.OnnxParser = lambda network, logger: SimpleNamespace(
        parse_from_file=lambda path: parse_from_file(network, path),
        get_error=lambda index: SimpleNamespace(desc=lambda: 'no such layer'),
    )
    trt.Runtime = lambda logger: SimpleNamespace(
        deserialize_cuda_engine=lambda plan: Engine(plan, device) if len(plan) > 9 else None
    )
    trt.nptype = lambda dtype: dtype
    cuda.runtime = device
    for name, module in (('tensorrt', trt), ('cuda', ModuleType('cuda')), ('cuda.bindings', cuda)):
        monkeypatch.setitem(sys.modules, name, module)
    for module in (gpu, select, tensorrt_backend):
        monkeypatch.setattr(module, 'gpu_names', lambda: ('Test GPU/1',))
    return device


def open_tensorrt(model, cache, **options):
    return open_backend(model, 'tensorrt', engine_cache_dir=cache, **options)


def test_outputs_equal_those_of_onnxruntime(device, tiny_model, tmp_path):
    backend = open_tensorrt(tiny_model, tmp_path)
    expected = open_backend(tiny_model, 'onnxruntime', 'cpu')
    for size in ((64, 128), (32, 128)):
        image = np.zeros((64, 128, 3), np.uint8)
        image[: size[0]] = paint_scene(*size)
        for actual, value in zip(
            backend.run(image, THRESHOLDS), expected.run(image, THRESHOLDS), strict=True
        ):
            np.testing.assert_array_equal(actual, value)
            assert actual.dtype == value.dtype
    assert (backend.name, backend.device, backend.precision) == ('tensorrt', 'cuda:0', 'fp32')


def test_an_engine_is_built_once_for_each_file_and_precision(device, tiny_model, tmp_path):
    cache = tmp_path / 'made' / 'on demand'
    for _ in range(2):
        open_tensorrt(tiny_model, cache)
    assert Builder.built == 1
    assert device.flags == []
    open_tensorrt(tiny_model, cache, precision='fp16')
    assert Builder.built == 2
    assert device.flags == ['fp16']
    stem = f'{file_hash(tiny_model)}-trt10.16-Test-GPU-1'
    assert sorted(file.name for file in cache.iterdir()) == [
        f'{stem}-fp16.plan',
        f'{stem}-fp32.plan',
    ]


def test_an_engine_that_another_process_builds_is_refused(device, tiny_model, tmp_path):
    stem = f'{file_hash(tiny_model)}-trt10.16-Test-GPU-1-fp32'
    with lock_folder(tmp_path / f'{stem}.building', 'engine build'):
        with pytest.raises(BackendError, match=r'in use by another engine build \(process \d+\)'):
            open_tensorrt(tiny_model, tmp_path)
        assert open_tensorrt(tiny_model, tmp_path, precision='fp16')  # which is another engine
        assert Builder.built == 1
    assert open_tensorrt(tiny_model, tmp_path)  # the folder of a killed build does not matter
    assert sorted(file.suffix for file in tmp_path.iterdir()) == ['.plan', '.plan']


def test_an_engine_built_meanwhile_is_used(device, tiny_model, tmp_path, monkeypatch):
    @contextmanager
    def lock_after_another(folder, work):
        next(tmp_path.glob('*.other')).rename(folder.with_suffix('.plan'))
        yield

    open_tensorrt(tiny_model, tmp_path)
    plan = next(tmp_path.glob('*.plan'))
    plan.rename(plan.with_suffix('.other'))
    monkeypatch.setattr(tensorrt_backend, 'lock_folder', lock_after_another)
    open_tensorrt(tiny_model, tmp_path)
    assert Builder.built == 1


def test_a_build_that_fails_leaves_nothing(device, tiny_model, tmp_path):
    device.parses = False
    with pytest.raises(ModelFileError):
        open_tensorrt(tiny_model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_freed_with_the_backend(device, tiny_model, tmp_path):
    backend = open_tensorrt(tiny_model, tmp_path)
    assert device.streams and len(device.memory) == 3 + len(OUTPUTS)
    del backend
    gc.collect()
    assert not device.streams and not device.memory


def test_failures_are_reported(device, tiny_model, tmp_path):
    device.parses = False
    with pytest.raises(ModelFileError, match='tensorrt does not accept the graph: no such layer'):
        open_tensorrt(tiny_model, tmp_path)
    device.parses, device.full = True, True
    with pytest.raises(BackendError, match='cudaMalloc failed: cudaErrorMemoryAllocation'):
        open_tensorrt(tiny_model, tmp_path)
    device.full = False
    next(tmp_path.glob('*.plan')).write_bytes(b'damaged')
    with pytest.raises(BackendError, match=r'cannot read the engine .*\.plan; remove'):
        open_tensorrt(tiny_model, tmp_path)


def test_auto_prefers_tensorrt(device, tiny_model, tmp_path):
    assert open_backend(tiny_model, engine_cache_dir=tmp_path).name == 'tensorrt'
