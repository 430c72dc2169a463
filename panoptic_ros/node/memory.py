# SPDX-License-Identifier: Apache-2.0
"""How much memory the process and its device use."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path


def host_rss_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize()


def device_memory_bytes(device: str) -> tuple[int, int] | None:
    """(used, total) memory of a CUDA device, by all processes; None for the CPU.

    Asks the driver, since whichever engine is in use has its own way to tell.
    """
    if not device.startswith('cuda'):
        return None
    try:
        driver = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return None
    handle, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    index = int(device.partition(':')[2] or 0)
    if driver.cuDeviceGet(ctypes.byref(handle), index) or driver.cuDevicePrimaryCtxRetain(
        ctypes.byref(context), handle
    ):
        return None
    try:
        driver.cuCtxPushCurrent_v2(context)
        failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(handle)
    return None if failed else (total.value - free.value, total.value)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an engine failed for lack of memory; each says so in its own words."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text
        for words in (
            'out of memory',
            'failed to allocate',
            'bad_alloc',
            'cuda_error_out_of_memory',
        )
    )
