# SPDX-License-Identifier: Apache-2.0
"""The libraries TensorRT and TensorRT-RTX, which have the same Python interface."""

from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from panoptic_ros.core.model_file import file_hash
from panoptic_ros.core.text import one_line
from panoptic_ros.runtime.backend import BackendError

LIBRARIES = {
    'tensorrt': 'pip install tensorrt cuda-python',
    'tensorrt_rtx': 'pip install "panoptic_ros[tensorrt_rtx]"',
}
"""Installation of each library, by the name of its module."""

PORTABLE = 'tensorrt_rtx'
"""Library whose engines run on every GPU from Ampere on; it compiles kernels when it loads one.

Engines of TensorRT itself run on the GPU for which they were built.
"""

PORTABLE_GPUS = 'GPUs from Ampere on'
"""GPUs that run the portable engines."""


@dataclass(frozen=True)
class Library:
    """A library that was imported, and its log."""

    name: str
    """`tensorrt` or `tensorrt_rtx`."""

    module: Any
    logger: Any
    """The only logger of the process: the library ignores a second one."""

    errors: deque[str]
    """The last errors that the library has logged; cleared before each long call."""

    @property
    def version(self) -> str:
        """Version of the library."""
        return str(self.module.__version__)

    def first_error(self) -> str:
        """Return the first of the errors as one line; the others mostly follow from it."""
        return one_line(self.errors[0] if self.errors else 'it gives no reason')

    def engine_name(self, model: Path, gpu: str, precision: str) -> str:
        """Return the name of a model's engine in the cache.

        Args:
            model: the model file.
            gpu: name of the GPU, which matters unless engines are portable.
            precision: of the model file.
        """
        target = 'ampere+' if self.name == PORTABLE else file_part(gpu)
        return f'{file_hash(model)}-{self.name}{self.version}-{target}-{precision}.plan'


def file_part(text: str) -> str:
    """Return a text as a part of a file's name.

    >>> file_part('NVIDIA RTX A2000/8GB')
    'NVIDIA-RTX-A2000-8GB'
    """
    return ''.join(c if c.isalnum() else '-' for c in text)


def import_library(name: str) -> Library:
    """Import TensorRT or TensorRT-RTX.

    Args:
        name: a key of LIBRARIES.

    Raises:
        BackendError: if it is not installed or too old; says how to install it.
    """
    try:
        module = import_module(name)
    except (ImportError, OSError) as error:  # OSError: a library that it loads is missing
        raise BackendError(
            f'{name} cannot be imported ({one_line(error)}); {LIBRARIES[name]}'
        ) from None
    if not hasattr(module.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED'):
        raise BackendError(
            f'{name} {module.__version__} is too old, version 10 or later is needed; '
            f'{LIBRARIES[name]}'
        )
    logger = _make_logger(module)
    return Library(name, module, logger, logger.errors)


@cache
def _make_logger(trt: Any) -> Any:
    """Return the logger of a library, which keeps errors in place of printing them."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 requires this form
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Logger()
