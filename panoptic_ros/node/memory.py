# SPDX-License-Identifier: Apache-2.0
"""Memory use of the process and its device."""

import ctypes
import resource
from pathlib import Path


def host_rss_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize()


def return_free_memory() -> None:
    """Return freed memory to the operating system; glibc otherwise keeps what a model occupied."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def device_memory_bytes(device: str) -> tuple[int, int] | None:
    """Return (used, total) memory of a CUDA device, of all processes; None for the CPU.

    The numbers come from the driver, so that they do not depend on the backend.
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
    """Return whether a backend ran out of memory, judged by the text of its error."""
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
