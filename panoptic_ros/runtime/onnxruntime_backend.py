# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime backend: the CPU, and the providers of its build and of plug-ins."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_file import ModelFileError, load_onnx
from panoptic_ros.core.model_info import Outputs
from panoptic_ros.core.text import one_line
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.cpu_graph import rewrite_for_cpu
from panoptic_ros.runtime.gpu import gpu_index
from panoptic_ros.runtime.providers import NVIDIA, add_provider, chooses_device

logger = logging.getLogger(__name__)

_PROVIDERS = {'cpu': 'CPUExecutionProvider', **NVIDIA}


class OnnxRuntimeBackend:
    """Backend that runs the graph in ONNX Runtime."""

    def __init__(
        self,
        path: Path,
        device: str,
        provider: str = '',
        precision: str = 'fp32',
        engine_cache_dir: Path | None = None,
        threads: int | None = None,
    ) -> None:
        """Load a model file.

        Args:
            path: the model file.
            device: `cpu` or `cuda[:<index>]`; for providers with devices of their own `auto`,
                `gpu`, `npu` or `cpu`.
            provider: `cpu`, `cuda`, `tensorrt` or one of `provider_names`; empty is `cpu` or
                `cuda`, by the device.
            precision: number format of the file's network.
            engine_cache_dir: folder of the tensorrt provider's engines.
            threads: CPU threads per inference; None is one per core this process may use.

        Raises:
            BackendError: if the package, the provider or the device is not available.
            ModelFileError: if ONNX Runtime does not accept the graph.
        """
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise BackendError(
                f'onnxruntime cannot be imported ({error}); '
                'pip install onnxruntime (or onnxruntime-gpu)'
            ) from None
        own_device = chooses_device(provider)
        index = None if own_device else gpu_index(device)
        provider = provider or ('cpu' if index is None else 'cuda')
        if not own_device and (index is None) != (provider == 'cpu'):
            raise BackendError(f'onnxruntime provider {provider} does not run on device {device}')
        self.name = f'onnxruntime/{provider}'
        self.precision = precision
        self.fallback_reason = ''
        if own_device:
            self._session, self.device = _open_plugin(path, provider, device, threads)
            return
        if _PROVIDERS[provider] not in ort.get_available_providers():
            raise BackendError(
                f'this onnxruntime {ort.__version__} has no {provider} provider '
                f'({", ".join(ort.get_available_providers())}); '
                'pip uninstall onnxruntime, pip install onnxruntime-gpu'
            )

        try:
            self._session = open_session(
                _graph(path, provider), provider, index, precision, engine_cache_dir, threads
            )
        except Exception as error:  # pybind's own classes have no other common base
            text = one_line(error)
            raise ModelFileError(
                f'{path}: onnxruntime does not accept the graph: {text}'
            ) from None
        if _PROVIDERS[provider] not in self._session.get_providers():
            raise BackendError(
                f'onnxruntime could not start its {provider} provider: the versions of CUDA and '
                'cuDNN do not fit; see its requirements page'
            )
        self.device = 'cpu' if index is None else f'cuda:{index}'

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, Any]) -> Outputs:
        """See `Backend.run`."""
        scalars = {name: np.array(value, np.float32) for name, value in thresholds.items()}
        return Outputs(*self._session.run(None, {'image': image, **scalars}))


def _graph(path: Path, provider: str) -> str | bytes:
    """Return a model file's path, or its graph if it is rewritten for the provider."""
    if provider == 'cpu':
        model = load_onnx(path)
        if rewrite_for_cpu(model):
            return bytes(model.SerializeToString())
    return str(path)


def open_session(
    graph: str | bytes,
    provider: str,
    index: int | None,
    precision: str = 'fp32',
    cache_dir: Path | None = None,
    threads: int | None = None,
    keep_memory: bool = True,
) -> Any:
    """Create an onnxruntime.InferenceSession.

    Args:
        graph: path or bytes of a model.
        provider: `cpu`, `cuda` or `tensorrt`; if it fails, ONNX Runtime falls back to the one
            before it.
        index: of the GPU; None for the CPU.
        precision: number format of the graph's network; the types of the graph decide on all
            providers but tensorrt.
        cache_dir: folder of tensorrt's engines; None keeps none.
        threads: CPU threads per inference; None is one per core this process may use.
        keep_memory: whether the CPU's memory of an inference is kept for the next one, which is
            faster; without it an inference takes only what it needs at a time.
    """
    import onnxruntime as ort

    options = session_options(threads)
    options.enable_cpu_mem_arena = keep_memory
    # fp32 without TF32, which would change the outputs by more than 1e-3.
    cuda = ('CUDAExecutionProvider', {'device_id': index, 'use_tf32': 0})
    tensorrt = (
        'TensorrtExecutionProvider',
        {
            'device_id': index,
            'trt_fp16_enable': precision == 'fp16',
            'trt_int8_enable': precision == 'int8',
            'trt_engine_cache_enable': cache_dir is not None,
            'trt_engine_cache_path': str(cache_dir or ''),
        },
    )
    best: dict[str, list[Any]] = {'cpu': [], 'cuda': [cuda], 'tensorrt': [tensorrt, cuda]}
    return ort.InferenceSession(
        graph, options, providers=[*best[provider], 'CPUExecutionProvider']
    )


def session_options(threads: int | None) -> Any:
    """Return onnxruntime.SessionOptions.

    Args:
        threads: CPU threads per inference; None is one per core this process may use.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    # ONNX Runtime's default would count cores that this process may not use.
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    # Threads that spin between layers and frames take a tenth less time on an idle machine, for
    # 1.4 to 1.9 times the processor time, and at least twice as long where others use the cores.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return options


def _open_plugin(path: Path, provider: str, device: str, threads: int | None) -> tuple[Any, str]:
    """Create a session whose provider has devices of its own, and return it with the device.

    Raises:
        BackendError: if the provider is not available, or runs no part of the graph.
    """
    import onnxruntime as ort

    options = session_options(threads)
    options.add_session_config_entry('session.record_ep_graph_assignment_info', '1')
    providers, full_name, device = add_provider(options, provider, device, threads)
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # pybind's own classes have no other common base
        raise BackendError(
            f'onnxruntime/{provider} does not accept the graph of {path}: {one_line(error)}'
        ) from None
    if hasattr(session, 'get_provider_graph_assignment_info'):  # of ONNX Runtime 1.24
        parts = [
            (part.ep_name, len(part.get_nodes()))
            for part in session.get_provider_graph_assignment_info()
        ]
        own, total = sum(n for name, n in parts if name == full_name), sum(n for _, n in parts)
        if own == 0:
            raise BackendError(
                f'onnxruntime/{provider} runs none of the {total} operators of {path}; set '
                'another backend'
            )
        logger.info('onnxruntime/%s runs %d of %d operators', provider, own, total)
    return session, device
