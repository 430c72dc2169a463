# SPDX-License-Identifier: Apache-2.0
"""Choice of the backend that runs a model file on this machine."""

import logging
from pathlib import Path

from panoptic_ros.core.model_file import (
    ModelFileError,
    info_from_onnx,
    load_onnx,
    reference_from_onnx,
)
from panoptic_ros.core.model_info import PRECISIONS, ModelInfo
from panoptic_ros.core.onnx_graph import check_weights
from panoptic_ros.core.reference import Reference
from panoptic_ros.core.text import did_you_mean, one_line
from panoptic_ros.runtime.backend import Backend, BackendError
from panoptic_ros.runtime.engine_build import EngineBuild
from panoptic_ros.runtime.engine_cache import default_cache_dir, open_cache
from panoptic_ros.runtime.gpu import NO_GPU, gpu_index, gpu_names
from panoptic_ros.runtime.providers import chooses_device
from panoptic_ros.runtime.self_check import WrongAnswerError, check_answer
from panoptic_ros.runtime.tensorrt_backend import TensorRTBackend
from panoptic_ros.runtime.tensorrt_library import LIBRARIES
from panoptic_ros.runtime.trial import check_predictions

logger = logging.getLogger(__name__)

BACKENDS = (*LIBRARIES, 'onnxruntime', 'torch')
"""Engines, fastest first. A new engine needs a class in this package and a branch in `_open`."""

_GPU_ONLY = (*LIBRARIES, 'onnxruntime/tensorrt', 'onnxruntime/cuda', 'torch/cudagraph')


def open_backend(
    path: Path,
    backend: str = 'auto',
    device: str = 'auto',
    precision: str = 'auto',
    allow_cpu: bool = False,
    engine_cache_dir: Path | None = None,
    threads: int | None = None,
    progress: EngineBuild | None = None,
) -> Backend:
    """Load a model file and run it on test images, which checks it and warms it up.

    An engine whose answer differs from the reference in the file counts as not available; an
    error of the log says so where another engine takes its place.

    Args:
        path: the model file.
        backend: `auto`, or one of BACKENDS, with an ONNX Runtime provider (cpu, cuda, tensorrt,
            or another of `provider_names`) or a torch mode (eager, compiled, cudagraph) after a
            slash.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:<index>`; `gpu` and `npu`
            are for providers with devices of their own, such as `onnxruntime/openvino`.
        precision: number format of the network that the file must have, one of PRECISIONS;
            `auto` takes any.
        allow_cpu: use the CPU if the GPU or the engine for it is not available; the backend's
            `fallback_reason` then says why.
        engine_cache_dir: folder of built engines; None is the user's cache directory.
        threads: CPU threads per inference; None is one per core this process may use.
        progress: filled while an engine is built.

    Raises:
        ModelFileError: if the model file is missing, damaged or not supported by the engine.
        BackendError: if the requested engine or device is not available; says how to get it.
    """
    path = Path(path)
    info, reference = _read_checked(path)
    engine, _, variant = backend.partition('/')
    if engine not in ('auto', *BACKENDS) or (engine in ('auto', *LIBRARIES) and variant):
        hint = did_you_mean(engine, ('auto', *BACKENDS)) if engine not in BACKENDS else ''
        raise BackendError(
            f'backend must be one of auto, {", ".join(BACKENDS)}, got {backend!r}{hint}'
        )
    if precision not in ('auto', *PRECISIONS):
        raise BackendError(
            f'precision must be one of auto, {", ".join(PRECISIONS)}, got {precision!r}'
        )
    if precision not in ('auto', info.precision):
        maker = 'quantize' if precision == 'int8' else f'export --precision {precision}'
        raise BackendError(
            f'{path} computes in {info.precision}, got precision {precision}; '
            f'`panoptic {maker}` makes such a file, and auto takes any'
        )
    own_device = engine == 'onnxruntime' and chooses_device(variant)
    if device == 'auto' and not own_device:
        if backend in _GPU_ONLY and not gpu_names() and not allow_cpu:
            raise BackendError(
                f'backend {backend!r} needs a GPU: {NO_GPU}, or set the backend to auto or '
                'allow_cpu to true to use the CPU'
            )
        device = 'cuda' if gpu_names() or backend in _GPU_ONLY else 'cpu'
        allow_cpu = allow_cpu or backend not in _GPU_ONLY
    engines = BACKENDS if engine == 'auto' else (engine,)
    attempts = [
        (name, variant, device)
        for name in engines
        if device != 'cpu' or name not in LIBRARIES or engine == name
    ]
    if (device != 'cpu' or own_device) and allow_cpu:
        attempts += [
            (name, '', 'cpu')
            for name in ('onnxruntime', 'torch')
            if engine in ('auto', *LIBRARIES, name)
        ]

    errors: list[BackendError | ModelFileError] = []
    for name, variant, place in attempts:
        try:
            opened = _open(
                name,
                path,
                info,
                reference,
                variant,
                place,
                precision,
                engine_cache_dir,
                threads,
                progress,
            )
        except (BackendError, ModelFileError) as error:
            errors.append(error)
            continue
        if errors and (place != device or own_device):
            opened.fallback_reason = _reasons(errors)
        for wrong in errors:
            if isinstance(wrong, WrongAnswerError):
                logger.error('%s', wrong)
        return opened
    kind = next((type(e) for e in errors if isinstance(e, ModelFileError)), BackendError)
    raise kind(_reasons(errors))


def _reasons(errors: list[BackendError | ModelFileError]) -> str:
    """Join the errors' messages; equal ones appear once."""
    return '; '.join(dict.fromkeys(str(error) for error in errors))


def _open(
    name: str,
    path: Path,
    info: ModelInfo,
    reference: Reference | None,
    variant: str,
    device: str,
    precision: str,
    cache_dir: Path | None,
    threads: int | None,
    progress: EngineBuild | None,
) -> Backend:
    """Start one engine and run the model on test images."""
    if name != 'onnxruntime' or not chooses_device(variant):
        gpu_index(device)
    cache_dir = cache_dir or default_cache_dir()
    opened: Backend
    try:
        if name in LIBRARIES:
            opened = TensorRTBackend(path, device, info.precision, cache_dir, name, progress)
        elif name == 'onnxruntime':
            from panoptic_ros.runtime.onnxruntime_backend import OnnxRuntimeBackend

            if variant == 'tensorrt':  # its engines are in the same folder
                open_cache(cache_dir)
            opened = OnnxRuntimeBackend(path, device, variant, info.precision, cache_dir, threads)
        else:
            from panoptic_ros.runtime.torch_backend import TorchBackend

            opened = TorchBackend(path, info, device, variant, precision, threads)
        if reference is None:
            logger.info('no reference in %s: the answer of %s is not compared', path, opened.name)
        else:
            shares = check_answer(opened, info, reference, path)
            logger.info(
                '%s agrees with the reference in the model file: %.1f %% of the test image have '
                'the same class, %.0f %% of the segments are the same',
                opened.name,
                *(100 * share for share in shares),
            )
        check_predictions(opened, info)
    except BackendError:
        raise
    except ModelFileError as error:
        text = str(error)
        raise ModelFileError(text if str(path) in text else f'{path}: {text}') from None
    except Exception as error:  # each engine has its own error classes: memory, compiler, ...
        text = one_line(error)
        raise BackendError(
            f'{name} on {device} cannot run the model {path}: {type(error).__name__}: {text}'
        ) from error
    return opened


def _read_checked(path: Path) -> tuple[ModelInfo, Reference | None]:
    """Read a file's description and reference, and check its weights.

    The graph's memory is released on return.
    """
    model = load_onnx(path)
    info = info_from_onnx(model, path)
    reference = reference_from_onnx(model, info, path)
    try:
        check_weights(model)
    except ValueError as error:
        raise ModelFileError(f'{path}: {error}') from None
    return info, reference
