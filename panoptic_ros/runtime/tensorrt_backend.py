# SPDX-License-Identifier: Apache-2.0
"""Backend of TensorRT (10 and 11) and TensorRT-RTX; engines are built once and cached."""

import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_info import OUTPUTS, Outputs
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.engine_build import EngineBuild, build_engine
from panoptic_ros.runtime.engine_cache import (
    default_cache_dir,
    find_or_build,
    open_cache,
    read_engine,
    write_engine,
)
from panoptic_ros.runtime.gpu import gpu_index, gpu_names
from panoptic_ros.runtime.tensorrt_library import (
    LIBRARIES,
    PORTABLE,
    PORTABLE_GPUS,
    Library,
    file_part,
    import_library,
)


def build_ahead(
    path: Path,
    precision: str,
    library: str = 'auto',
    device: str = 'cuda',
    cache_dir: Path | None = None,
    progress: EngineBuild | None = None,
) -> tuple[Path, str]:
    """Build the engine of a model file, unless the cache already has it.

    Args:
        path: the model file.
        precision: of the model file.
        library: a key of LIBRARIES; `auto` takes the first that can build here.
        device: `cuda[:<index>]` that tensorrt builds for; tensorrt_rtx needs no GPU.
        cache_dir: folder of the engines; None is the user's cache directory.
        progress: filled while the engine is built.

    Returns:
        The engine's file, and for what it is: library, version and GPUs.

    Raises:
        ModelFileError: if the library does not accept the graph.
        BackendError: if the library, the GPU or the cache cannot be used.
    """
    reasons = []
    for name in LIBRARIES if library == 'auto' else (library,):
        try:
            index = None if name == PORTABLE else _require_gpu(name, device)
            opened = import_library(name)
            if index is not None:
                _use_gpu(name, index)
        except BackendError as error:
            reasons.append(str(error))
            continue
        gpu = '' if index is None else gpu_names()[index]
        plan, _ = _prepare_engine(
            opened, path, gpu, precision, cache_dir or default_cache_dir(), progress
        )
        return plan, f'{name} {opened.version} on {gpu or PORTABLE_GPUS}'
    raise BackendError('; '.join(reasons))


class TensorRTBackend:
    """Backend that runs the graph as an engine of TensorRT or TensorRT-RTX."""

    def __init__(
        self,
        path: Path,
        device: str,
        precision: str,
        cache_dir: Path,
        library: str = 'tensorrt',
        progress: EngineBuild | None = None,
    ) -> None:
        """Load the engine from the cache, or build it, which takes minutes.

        Args:
            path: the model file.
            device: `cuda[:<index>]`.
            precision: of the model file.
            cache_dir: folder of the built engines, which only this user can write to.
            library: a key of LIBRARIES.
            progress: filled while the engine is built.

        Raises:
            BackendError: if the library, CUDA or the GPU is not available, or the engine cannot
                be used.
            ModelFileError: if the library does not accept the graph.
        """
        self._index = index = _require_gpu(library, device)
        self._library = opened = import_library(library)
        self._cuda = cuda = _use_gpu(library, index)
        gpu = gpu_names()[index]
        plan, data = _prepare_engine(opened, path, gpu, precision, cache_dir, progress)
        trt = opened.module
        opened.errors.clear()
        self._runtime = trt.Runtime(opened.logger)  # must outlive its engine
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise BackendError(
                f'{library} {opened.version} cannot use the engine {plan}: '
                f'{opened.first_error()}; free device memory if that is the reason, else remove '
                'the file, and it is built again'
            )
        self._kernels = plan.with_name(f'{plan.stem}-{file_part(gpu)}.kernels')
        self._context = self._make_context()
        if self._context is None:
            raise BackendError(
                f'{library} has not enough device memory for the model: {opened.first_error()}'
            )
        self._stream = self._call(cuda.cudaStreamCreate)
        weakref.finalize(self, cuda.cudaStreamDestroy, self._stream)

        self._outputs: dict[str, npt.NDArray[Any]] = {}
        self._addresses: dict[str, int] = {}
        for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors)):
            like = np.empty(
                tuple(self._engine.get_tensor_shape(name)),
                trt.nptype(self._engine.get_tensor_dtype(name)),
            )
            # Models without embeddings have an output of no bytes, which needs an address too.
            address = self._call(cuda.cudaMalloc, max(1, like.nbytes))
            weakref.finalize(self, cuda.cudaFree, address)
            self._context.set_tensor_address(name, address)
            self._addresses[name] = address
            if name in OUTPUTS:
                self._outputs[name] = like
        opened.errors.clear()
        self.name = library
        self.device = f'cuda:{index}'
        self.precision = precision
        self.fallback_reason = ''

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, Any]) -> Outputs:
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
            raise BackendError(
                f'{self.name} could not start the inference: {self._library.first_error()}'
            )
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
        if self._new_kernels is not None:
            self._keep_kernels()
        return Outputs(**results)

    def _make_context(self) -> Any:
        """Return the context that runs the engine; None without enough memory.

        TensorRT-RTX compiles kernels for the GPU here and during the first inference. They are
        kept in a file, so that the next start takes them from there.
        """
        self._new_kernels: Any = None
        if not hasattr(self._library.module, 'IRuntimeCache'):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        self._new_kernels = config.create_runtime_cache()
        known = read_engine(self._kernels)
        # Those of another driver are refused, and replaced after the first inference.
        self._known = known if known and self._new_kernels.deserialize(known) else b''
        config.set_runtime_cache(self._new_kernels)
        return self._engine.create_execution_context(config)

    def _keep_kernels(self) -> None:
        """Write the kernels that were compiled, once."""
        kernels, self._new_kernels = bytes(self._new_kernels.serialize()), None
        if kernels != self._known:
            with suppress(OSError):  # a folder that is not writable; the next start compiles again
                write_engine(kernels, self._kernels)

    def _call(self, function: Any, *arguments: Any) -> Any:
        return _call(self._cuda, function, *arguments)


def _prepare_engine(
    library: Library,
    path: Path,
    gpu: str,
    precision: str,
    cache_dir: Path,
    progress: EngineBuild | None,
) -> tuple[Path, bytes]:
    """Return a model's engine and its file; build it if the cache does not have it.

    Args:
        library: builds the engine.
        path: the model file.
        gpu: name of the current GPU; empty for a portable engine.
        precision: of the model file.
        cache_dir: folder of the engines.
        progress: filled while the engine is built.

    Raises:
        BackendError: if the cache cannot be used, another process is building this engine, or
            there is not enough memory.
        ModelFileError: if the library does not accept the graph.
    """
    open_cache(cache_dir)
    plan = cache_dir / library.engine_name(path, gpu, precision)
    build = EngineBuild() if progress is None else progress
    return plan, find_or_build(plan, lambda: build_engine(library, path, build))


def _require_gpu(library: str, device: str) -> int:
    """Return the index of a GPU.

    Raises:
        BackendError: if the device is not a GPU, or not available.
    """
    index = gpu_index(device)
    if index is None:
        raise BackendError(f'{library} needs a GPU, got device cpu')
    return index


def _use_gpu(library: str, index: int) -> Any:
    """Make a GPU the current device of this thread, and return cuda.bindings.runtime.

    Raises:
        BackendError: if CUDA or the GPU is not available.
    """
    try:
        from cuda.bindings import runtime as cuda
    except ImportError as error:
        raise BackendError(
            f'{library} needs CUDA, which cannot be imported ({error}); {LIBRARIES[library]}'
        ) from None
    _call(cuda, cuda.cudaSetDevice, index)
    return cuda


def _call(cuda: Any, function: Any, *arguments: Any) -> Any:
    """Call a function of the CUDA runtime, and return its result without the status.

    Raises:
        BackendError: if the call fails.
    """
    status, *result = function(*arguments)
    if status != cuda.cudaError_t.cudaSuccess:
        raise BackendError(f'{function.__name__} failed: {status.name}')
    return result[0] if result else None
