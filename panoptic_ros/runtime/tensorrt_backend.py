# SPDX-License-Identifier: Apache-2.0
"""TensorRT 10 backend; engines are built once per model file and GPU, and cached."""

import shutil
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import FolderInUseError, lock_folder, write_bytes
from panoptic_ros.core.model_file import ModelFileError, file_hash
from panoptic_ros.core.model_info import OUTPUTS, Outputs
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.gpu import gpu_index, gpu_names


class TensorRTBackend:
    """Backend that runs the graph as a TensorRT engine."""

    def __init__(self, path: Path, device: str, precision: str, cache_dir: Path) -> None:
        """Load the engine from the cache, or build it, which takes minutes.

        Args:
            path: the model file.
            device: `cuda[:<index>]`.
            precision: `fp32` or `fp16`.
            cache_dir: folder of the built engines. An engine is code for the GPU, so only trusted
                users should have write access to this folder.

        Raises:
            BackendError: if TensorRT, CUDA or the GPU is not available, or another process is
                building this engine.
            ModelFileError: if TensorRT does not accept the graph.
        """
        index = gpu_index(device)
        if index is None:
            raise BackendError('tensorrt needs a GPU, got device cpu')
        try:
            import tensorrt as trt
            from cuda.bindings import runtime as cuda
        except ImportError as error:
            raise BackendError(
                f'tensorrt cannot be imported ({error}); pip install tensorrt cuda-python'
            ) from None
        self._cuda, self._index = cuda, index
        self._call(cuda.cudaSetDevice, index)
        logger = trt.Logger(trt.Logger.ERROR)
        gpu = ''.join(c if c.isalnum() else '-' for c in gpu_names()[index])
        plan = cache_dir / f'{file_hash(path)}-trt{trt.__version__}-{gpu}-{precision}.plan'
        if not plan.is_file():
            _build_alone(plan, lambda: _build(trt, logger, path, precision))
        self._runtime = trt.Runtime(logger)  # must outlive its engine
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise BackendError(f'tensorrt cannot read the engine {plan}; remove that file')
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise BackendError('tensorrt has not enough device memory for the model')
        self._stream = self._call(cuda.cudaStreamCreate)
        weakref.finalize(self, cuda.cudaStreamDestroy, self._stream)

        self._outputs: dict[str, npt.NDArray[Any]] = {}
        self._addresses: dict[str, int] = {}
        for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors)):
            like = np.empty(
                tuple(self._engine.get_tensor_shape(name)),
                trt.nptype(self._engine.get_tensor_dtype(name)),
            )
            address = self._call(cuda.cudaMalloc, like.nbytes)
            weakref.finalize(self, cuda.cudaFree, address)
            self._context.set_tensor_address(name, address)
            self._addresses[name] = address
            if name in OUTPUTS:
                self._outputs[name] = like
        self.name = 'tensorrt'
        self.device = f'cuda:{index}'
        self.precision = precision
        self.fallback_reason = ''

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, float]) -> Outputs:
        """See `Backend.run`."""
        cuda = self._cuda
        self._call(
            cuda.cudaSetDevice, self._index
        )  # the current device is a setting of each thread
        inputs: dict[str, npt.NDArray[Any]] = {
            'image': image,
            **{k: np.array(v, np.float32) for k, v in thresholds.items()},
        }
        for name, host in inputs.items():
            self._call(
                cuda.cudaMemcpyAsync,
                self._addresses[name],
                host.ctypes.data,
                host.nbytes,
                cuda.cudaMemcpyKind.cudaMemcpyHostToDevice,
                self._stream,
            )
        if not self._context.execute_async_v3(int(self._stream)):
            raise BackendError('tensorrt could not start the inference')
        results = {name: np.empty_like(like) for name, like in self._outputs.items()}
        for name, host in results.items():
            self._call(
                cuda.cudaMemcpyAsync,
                host.ctypes.data,
                self._addresses[name],
                host.nbytes,
                cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost,
                self._stream,
            )
        self._call(cuda.cudaStreamSynchronize, self._stream)
        return Outputs(**results)

    def _call(self, function: Any, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime, and return its result without the status.

        Raises:
            BackendError: if the call fails.
        """
        status, *result = function(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise BackendError(f'{function.__name__} failed: {status.name}')
        return result[0] if result else None


def _build_alone(plan: Path, build: Callable[[], bytes]) -> None:
    """Build an engine and write its file, in one process at a time.

    Raises:
        BackendError: if another process is building the same engine.
    """
    folder = plan.with_suffix('.building')
    try:
        with lock_folder(folder, 'engine build'):
            try:
                if not plan.is_file():  # else another process has just built it
                    write_bytes(build(), plan)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except FolderInUseError as error:
        raise BackendError(str(error)) from None


def _build(trt: Any, logger: Any, path: Path, precision: str) -> Any:
    """Build the engine of a model file and return it as bytes."""
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        raise ModelFileError(
            f'{path}: tensorrt does not accept the graph: {parser.get_error(0).desc()}'
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 without TF32
    if precision == 'fp16':
        config.set_flag(trt.BuilderFlag.FP16)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelFileError(f'{path}: tensorrt could not build an engine; see its log')
    return plan
