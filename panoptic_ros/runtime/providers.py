# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's execution providers: those of its build, and plug-ins from packages of their own.

A plug-in's package is named `onnxruntime_ep_<name>` or `onnxruntime_<name>`, holds the library and
has the functions `get_library_path` and `get_ep_names`, as ONNX Runtime's guide for packages says.
"""

import importlib
import json
import pkgutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from panoptic_ros.core.text import did_you_mean, one_line
from panoptic_ros.runtime.backend import BackendError

NVIDIA = {'cuda': 'CUDAExecutionProvider', 'tensorrt': 'TensorrtExecutionProvider'}
"""Providers that take one of NVIDIA's GPUs by its index."""

SUFFIX = 'ExecutionProvider'

REMOTE = 'AzureExecutionProvider'
"""Provider that sends images to a service; every build lists it, and it runs no operator here."""

KINDS = ('gpu', 'npu', 'cpu')
"""Kinds of devices, in the order in which one is chosen."""

_PREFIXES = ('onnxruntime_ep_', 'onnxruntime_')


def provider_names() -> list[str]:
    """Return the names that may follow `onnxruntime/` here: first the build's, then plug-ins'."""
    import onnxruntime as ort

    return list(dict.fromkeys((*_built_in(ort), *plugin_packages())))


def chooses_device(provider: str) -> bool:
    """Return whether a provider has devices of its own, which are not NVIDIA's GPUs by index."""
    return provider not in ('', 'cpu', *NVIDIA)


def add_provider(
    options: Any, provider: str, device: str, threads: int | None = None
) -> tuple[list[str], str, str]:
    """Add a provider that has devices of its own to the options of a session.

    Args:
        options: onnxruntime.SessionOptions, changed in place.
        provider: its short name, e.g. `openvino`.
        device: `auto`, or one of KINDS.
        threads: CPU threads per inference, which OpenVINO does not take from `options`; None is
            its own choice.

    Returns:
        The `providers` argument of the session, empty for a plug-in; the provider's long name; and
        the kind of device in use.

    Raises:
        BackendError: if there is no such provider, or it cannot start or has no such device.
    """
    import onnxruntime as ort

    if device not in ('auto', *KINDS):
        raise BackendError(
            f'device of onnxruntime/{provider} must be auto, {", ".join(KINDS)}, got {device!r}'
        )
    built_in = _built_in(ort)
    package = plugin_packages().get(provider)
    if package is None and provider in built_in:
        if device != 'auto':
            raise BackendError(
                f'onnxruntime/{provider} chooses its device itself; set the device to auto, '
                f'got {device!r}'
            )
        return [built_in[provider], 'CPUExecutionProvider'], built_in[provider], 'its own choice'
    if package is None:
        raise BackendError(
            f'onnxruntime {ort.__version__} has no provider {provider!r} here, only '
            f'{", ".join(provider_names())}{did_you_mean(provider, provider_names())}; '
            'pip install onnxruntime-gpu for cuda and tensorrt, or the package of a plug-in, such '
            'as onnxruntime-ep-openvino'
        )
    devices = _devices(package)
    if device == 'auto':
        chosen = devices[0]
    else:
        kinds = [_kind(found) for found in devices]
        if device not in kinds:
            raise BackendError(
                f'onnxruntime/{provider} finds {", ".join(dict.fromkeys(kinds))} here, but no '
                f'{device}; install its driver, or set another device'
            )
        chosen = devices[kinds.index(device)]
    options.add_provider_for_devices([chosen], _accurate(chosen, threads))
    return [], chosen.ep_name, _kind(chosen)


def plugin_device(package: str) -> str:
    """Return the kind of the device that a plug-in takes with `auto`.

    Raises:
        BackendError: if it cannot be loaded, or has no device here.
    """
    return _kind(_devices(package)[0])


def _devices(package: str) -> list[Any]:
    """Return the devices of a plug-in, onnxruntime.OrtEpDevice, the one for `auto` first.

    Raises:
        BackendError: if it cannot be loaded, or has no device here.
    """
    import onnxruntime as ort

    names = _register(package)
    every = ort.get_ep_devices()
    own = [found for found in every if found.ep_name in names and _kind(found) in KINDS]
    if not own:
        seen = ', '.join(dict.fromkeys(f'{d.device.vendor} {_kind(d)}' for d in every))
        raise BackendError(
            f'the plug-in {package} takes no device of this machine, where ONNX Runtime finds '
            f'{seen}; install the driver of its hardware, or set another backend'
        )
    return sorted(own, key=lambda found: KINDS.index(_kind(found)))


def _kind(found: Any) -> str:
    """Return one of KINDS for an onnxruntime.OrtEpDevice."""
    return str(found.device.type.name).lower()


def plugin_version(provider: str) -> str:
    """Return the version of a plug-in that is in use; empty for a provider of the build."""
    import onnxruntime as ort

    package = plugin_packages().get(provider)
    if package is None:
        return ''
    names = _register(package)
    found = (d.ep_metadata.get('version', '') for d in ort.get_ep_devices() if d.ep_name in names)
    return next(found, '')


@cache  # after plug-ins are loaded, ONNX Runtime lists their providers too
def _built_in(ort: Any) -> dict[str, str]:
    """Return the long names of the build's providers by their short names."""
    return {
        name.removesuffix(SUFFIX).lower(): name
        for name in ort.get_available_providers()
        if name != REMOTE
    }


def plugin_packages() -> dict[str, str]:
    """Return the packages of plug-ins by their short names; nothing is imported."""
    return {
        module.removeprefix(next(p for p in _PREFIXES if module.startswith(p))): module
        for module in (found.name for found in pkgutil.iter_modules())
        if module.startswith(_PREFIXES) and _holds_library(module)
    }


def _holds_library(module: str) -> bool:
    """Return whether a package has a library with providers in its folder."""
    spec = find_spec(module)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return any(next(Path(f).glob('*onnxruntime_providers_*'), None) for f in folders)


@cache
def _register(package: str) -> tuple[str, ...]:
    """Load the library of a plug-in once, and return the long names of its providers.

    Raises:
        BackendError: if it cannot be loaded.
    """
    import onnxruntime as ort

    _built_in(ort)  # while it lists no plug-ins
    try:
        plugin = importlib.import_module(package)
        ort.register_execution_provider_library(package, plugin.get_library_path())
        return tuple(plugin.get_ep_names())
    except Exception as error:  # of the package, the linker or ONNX Runtime
        raise BackendError(
            f'onnxruntime {ort.__version__} cannot load the plug-in {package}: '
            f'{one_line(error)}; install a version of it that fits'
        ) from None


def _accurate(device: Any, threads: int | None) -> dict[str, str]:
    """Return options with which a provider computes in the number format of the graph.

    OpenVINO would take bfloat16 or float16 on processors and GPUs that are faster with them, and
    all cores.
    """
    kind = device.ep_metadata.get('ov_device', '')
    if not kind.startswith(('CPU', 'GPU')):
        return {}
    settings = {'EXECUTION_MODE_HINT': 'ACCURACY'}
    if threads and kind.startswith('CPU'):
        settings['INFERENCE_NUM_THREADS'] = str(threads)
    return {'load_config': json.dumps({kind: settings})}
