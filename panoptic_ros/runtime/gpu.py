# SPDX-License-Identifier: Apache-2.0
"""NVIDIA GPUs that the driver lists, found without loading an engine."""

import ctypes
import re
from functools import cache

from panoptic_ros.runtime.backend import BackendError

NO_GPU = 'no NVIDIA GPU or driver was found; install the driver (nvidia-smi must list the GPU)'


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the GPUs' names by device index; empty without a GPU or its driver."""
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        if driver.cuDeviceGet(ctypes.byref(device), index) or driver.cuDeviceGetName(
            name, len(name), device
        ):
            return ()
        names.append(name.value.decode(errors='replace'))
    return tuple(names)


def gpu_index(device: str) -> int | None:
    """Parse `cpu`, `cuda` or `cuda:<index>`.

    Returns:
        The GPU's index, or None for the CPU.

    Raises:
        BackendError: if the text has another form, or the GPU is not available.
    """
    match = re.fullmatch(r'cpu|cuda(?::(\d+))?', device)
    if match is None:
        raise BackendError(f'device must be auto, cpu, cuda or cuda:<index>, got {device!r}')
    if device == 'cpu':
        return None
    index, names = int(match[1] or 0), gpu_names()
    if not names:
        raise BackendError(
            f'device {device!r} is not available: {NO_GPU}, or set the device to cpu'
        )
    if index >= len(names):
        raise BackendError(
            f'device {device!r} is not available: the driver lists {len(names)} GPU, '
            f'{", ".join(names)}'
        )
    return index
