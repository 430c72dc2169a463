# SPDX-License-Identifier: Apache-2.0
"""Stand-ins of TensorRT 10.3, 10.16, 11.4 and TensorRT-RTX 1.7, and of the CUDA runtime.

They have the names of the bindings of these versions, as far as the backend uses names: version
10.3 has no configuration of the runtime, version 11 has no flag FP16, and only TensorRT-RTX has a
cache of compiled kernels. An engine is the ONNX file itself, which ONNX Runtime runs; the device's
memory is host memory.
"""

import ctypes
import sys
import time
from enum import Enum, IntEnum
from itertools import count
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort

from panoptic_ros.core.model_info import OUTPUTS

GPU = 'Test GPU/1'

KINDS = {
    '10.3.0': 'tensorrt',
    '10.16.1.11': 'tensorrt',
    '11.4.0.106': 'tensorrt',
    '1.7.1.116': 'tensorrt_rtx',
}
"""Name of the module by version."""

DTYPES = {
    'tensor(uint8)': np.uint8,
    'tensor(float)': np.float32,
    'tensor(int32)': np.int32,
    'tensor(bool)': np.bool_,
}

MAGIC, KERNELS = b'engine of ', b'kernels'


class Status(Enum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2


class Device:
    """cuda.bindings.runtime 13 with host memory."""

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
        assert size > 0  # CUDA would return no address
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


class Engine:
    """ICudaEngine and IExecutionContext."""

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
            shape = self.get_tensor_shape(name)
            if 0 in shape:
                return np.empty(shape, self.get_tensor_dtype(name))
            return np.frombuffer(
                self.device.memory[self.addresses[name]], self.get_tensor_dtype(name)
            ).reshape(shape)

        results = self.session.run(OUTPUTS, {name: view(name) for name in self.inputs})
        for name, result in zip(OUTPUTS, results, strict=True):
            view(name)[...] = result
        return True


class ConfigurableEngine(Engine):
    """Engine of version 10.16 and later."""

    def create_runtime_config(self):
        return SimpleNamespace()

    def create_execution_context(self, runtime_config=None):
        return self


class KernelCache:
    """IRuntimeCache of TensorRT-RTX."""

    known = b''

    def deserialize(self, blob):
        self.known = blob if blob.startswith(KERNELS) else b''
        return bool(self.known)

    def serialize(self):
        return memoryview(self.known or KERNELS + b' compiled')


class CompilingEngine(ConfigurableEngine):
    """Engine of TensorRT-RTX."""

    def create_runtime_config(self):
        return SimpleNamespace(create_runtime_cache=KernelCache, set_runtime_cache=self.use)

    def use(self, cache):
        self.device.kernels.append(cache.known)


class Interface:
    """Class of the bindings that users derive from; it must be initialised."""

    def __init__(self):
        self.initialised = True


class ILogger(Interface):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


def make_module(version: str, device: Device, step_s: float = 0.0) -> ModuleType:
    """Return the module of one version.

    Args:
        version: a key of KINDS.
        device: counts what is built in `device.built`, and says what fails: `device.refuses` at
            parsing, `device.fails` at building.
        step_s: time of each of a build's steps, seconds.
    """
    trt = ModuleType(KINDS[version])
    device.built, device.refuses, device.fails, device.kernels = [], '', '', []
    flags = ['TF32', 'STRICT_NANS']
    creation = ['STRONGLY_TYPED']
    if version.startswith('10.'):
        flags, creation = [*flags, 'FP16', 'INT8', 'BF16'], ['EXPLICIT_BATCH', *creation]
    engine_class = (
        CompilingEngine
        if KINDS[version] == 'tensorrt_rtx'
        else Engine
        if version == '10.3.0'
        else ConfigurableEngine
    )

    class Builder:
        def __init__(self, logger):
            assert logger.initialised
            self.logger = logger

        def create_network(self, flags=0):
            assert flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            return SimpleNamespace()

        def create_builder_config(self):
            return SimpleNamespace(clear_flag=trt.BuilderFlag, progress_monitor=None)

        def build_serialized_network(self, network, config):
            monitor = config.progress_monitor
            assert monitor.initialised
            monitor.phase_start('Building engine', None, 2)
            monitor.step_complete('Building engine', 0)
            monitor.phase_start('Timing', 'Building engine', 10)
            for step in range(9) if step_s < 60 else count():
                time.sleep(min(step_s, 0.1))
                if not monitor.step_complete('Timing', min(step, 7)):
                    return None
            monitor.phase_finish('Timing')
            monitor.phase_finish('Building engine')
            if device.fails:
                self.logger.log(trt.ILogger.ERROR, device.fails)
                self.logger.log(trt.ILogger.ERROR, 'what follows from it')
                return None
            device.built.append(version)
            return memoryview(MAGIC + version.encode() + b'\0' + network.graph)

    class OnnxParser:
        def __init__(self, network, logger):
            self.network = network

        def parse(self, model):
            self.network.graph = model
            return not device.refuses

        def get_error(self, index):
            return SimpleNamespace(
                desc=lambda: device.refuses,
                node_name=lambda: 'node_7',
                node_operator=lambda: 'Conv',
            )

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine):
            start = MAGIC + version.encode() + b'\0'
            if not serialized_engine.startswith(start):
                self.logger.log(trt.ILogger.ERROR, 'Serialization: the version does not match')
                return None
            return engine_class(serialized_engine[len(start) :], device)

    trt.__version__ = version
    trt.ILogger = ILogger
    trt.IProgressMonitor = Interface
    trt.Builder, trt.OnnxParser, trt.Runtime = Builder, OnnxParser, Runtime
    trt.BuilderFlag = IntEnum('BuilderFlag', flags, start=0)
    trt.NetworkDefinitionCreationFlag = IntEnum('NetworkDefinitionCreationFlag', creation, start=0)
    trt.nptype = lambda dtype: dtype
    if KINDS[version] == 'tensorrt_rtx':
        trt.IRuntimeCache = KernelCache
    return trt


def modules(version: str, device: Device, step_s: float = 0.0) -> dict[str, ModuleType | None]:
    """Return what `sys.modules` holds where only this version is installed, by name."""
    cuda = ModuleType('cuda.bindings')
    cuda.runtime = device
    return {
        **dict.fromkeys(KINDS.values()),  # None: the import fails
        KINDS[version]: make_module(version, device, step_s),
        'cuda': ModuleType('cuda'),
        'cuda.bindings': cuda,
        'cuda.bindings.runtime': device,
    }


def install(version: str, step_s: float) -> None:
    """Install the stand-ins and a GPU in this process."""
    from panoptic_ros.runtime import gpu

    sys.modules.update(modules(version, Device(), step_s))
    real = gpu.gpu_names
    for module in list(sys.modules.values()):
        if getattr(module, 'gpu_names', None) is real:
            module.gpu_names = lambda: (GPU,)


def graph_of(plan: bytes) -> onnx.ModelProto:
    """Return the graph that an engine was built from."""
    return onnx.load_model_from_string(plan.partition(b'\0')[2])
