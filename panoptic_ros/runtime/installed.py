# SPDX-License-Identifier: Apache-2.0
"""Backends of this machine: what is installed, in which version, and for which device."""

from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from typing import NamedTuple

from panoptic_ros.core.text import one_line
from panoptic_ros.runtime.backend import BackendError
from panoptic_ros.runtime.gpu import gpu_names
from panoptic_ros.runtime.providers import plugin_device, plugin_packages
from panoptic_ros.runtime.select import BACKENDS
from panoptic_ros.runtime.tensorrt_library import LIBRARIES, PORTABLE

PROJECTS = {
    'tensorrt': ('tensorrt', 'tensorrt-cu13', 'tensorrt-cu12'),
    'tensorrt_rtx': ('tensorrt_rtx',),
    'onnxruntime': ('onnxruntime-gpu', 'onnxruntime'),
    'torch': ('torch',),
}
"""Names on PyPI of the projects that provide each backend's package."""

INSTALLATION = {
    **LIBRARIES,
    'onnxruntime': 'pip install onnxruntime, or onnxruntime-gpu for a GPU',
    'torch': 'pip install torch torchvision timm',
}


class BackendState(NamedTuple):
    """What this machine has of a backend."""

    version: str
    """Version of the package; empty if it is not installed or not known."""

    device: str
    """Device that the backend uses with `device: auto`; empty if it cannot be used."""

    reason: str
    """Why it cannot be used; empty if it can."""


def backend_states() -> dict[str, BackendState]:
    """Return the state of each backend by name.

    On a machine with a GPU, ONNX Runtime and PyTorch are asked whether their builds can use it.
    Else the packages are found but not imported, so one may still fail to start.
    """
    return {name: _state(name) for name in BACKENDS}


def plugin_states() -> dict[str, BackendState]:
    """Return the state of each plug-in of ONNX Runtime by backend; its library is loaded."""
    return {f'onnxruntime/{name}': _plugin(package) for name, package in plugin_packages().items()}


def available_backends() -> dict[str, str]:
    """Return the reason why each backend cannot be used here, by name; empty if it can."""
    return {name: state.reason for name, state in backend_states().items()}


def _state(name: str) -> BackendState:
    if find_spec(name) is None:
        return BackendState('', '', f'the package {name} is not installed: {INSTALLATION[name]}')
    version, gpus = _version(PROJECTS[name]), gpu_names()
    gpu = f'cuda:0 ({gpus[0]})' if gpus else ''
    if name in LIBRARIES:
        if gpus:
            return BackendState(version, gpu, '')
        builds = '; `panoptic build` works without one' if name == PORTABLE else ''
        return BackendState(version, '', f'no NVIDIA GPU or driver was found{builds}')
    try:
        return BackendState(version, gpu if gpus and _sees_gpu(name) else 'cpu', '')
    except (ImportError, OSError) as error:
        return BackendState(version, '', f'it cannot be imported: {one_line(error)}')


def _plugin(package: str) -> BackendState:
    version = _version([package])
    try:
        return BackendState(version, plugin_device(package), '')
    except BackendError as error:
        return BackendState(version, '', str(error))


def _sees_gpu(name: str) -> bool:
    """Return whether this build of ONNX Runtime or PyTorch can use the GPU."""
    if name == 'onnxruntime':
        import onnxruntime

        return 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
    import torch

    return torch.cuda.is_available()


def _version(projects: Iterable[str]) -> str:
    """Return the version of the first of these projects that is installed; empty if none is."""
    for project in projects:
        try:
            return metadata.version(project)
        except metadata.PackageNotFoundError:  # noqa: PERF203
            continue
    return ''
