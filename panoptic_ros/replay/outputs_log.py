# SPDX-License-Identifier: Apache-2.0
"""Log of the network's outputs, from which an interrupted replay resumes.

Only the network is slow. Everything after it runs again from the first image, so the results are
bit-equal however often the replay was interrupted.
"""

import io
import struct
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_info import Outputs
from panoptic_ros.runtime.backend import Backend

_HEAD = struct.Struct('<QI')  # size in bytes and CRC-32 of the data that follow


class InferenceError(RuntimeError):
    """Failure of the backend with an image; names type and text of its error."""


class LoggedBackend:
    """A backend that returns the outputs in its log first, in order, and then runs new images."""

    def __init__(self, backend: Backend, path: Path) -> None:
        """Open the log and remove an incomplete last record.

        Args:
            backend: runs the images that are not in the log.
            path: file of the log; created if it does not exist.
        """
        self.name, self.device, self.precision = backend.name, backend.device, backend.precision
        self.fallback_reason = backend.fallback_reason
        self.seconds = 0.0
        """Time that the network took for the last image, also if its outputs are from the log."""
        self._backend = backend
        self._path = path
        self._file = path.open('a+b')
        self.left = self._read_count()
        """Number of runs in the log that `run` has not returned yet."""
        self._file.seek(0)

    def __enter__(self) -> 'LoggedBackend':
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # each record was flushed; an error here was raised before
            self._file.close()

    def run(self, image: npt.NDArray[np.uint8], thresholds: Mapping[str, Any]) -> Outputs:
        """See `Backend`.

        Raises:
            InferenceError: if the backend fails, or did so when the log was written.
            OSError: if the log cannot be written; it names the file.
        """
        if self.left:
            self.left -= 1
            size, _ = _HEAD.unpack(self._file.read(_HEAD.size))
            outputs, self.seconds = _unpack(self._file.read(size))
            return outputs
        start_s = time.perf_counter()
        try:
            outputs = self._backend.run(image, thresholds)
        except Exception as error:  # logged too, so that records and images stay aligned
            failed = InferenceError(f'{type(error).__name__}: {error}')
            self._write(_pack_error(failed))
            raise failed from error
        self.seconds = time.perf_counter() - start_s
        self._write(_pack(outputs, self.seconds))
        return outputs

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(_HEAD.pack(len(data), zlib.crc32(data)) + data)
            self._file.flush()
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(self._path)) from error

    def _read_count(self) -> int:
        """Count the complete records, and truncate the file after them."""
        end = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        count = complete = 0
        while len(head := self._file.read(_HEAD.size)) == _HEAD.size:
            size, checksum = _HEAD.unpack(head)
            # Zeros, which a power failure can leave, would be a record of no bytes.
            if not 0 < size <= end - self._file.tell():
                break
            data = self._file.read(size)
            if zlib.crc32(data) != checksum:
                break
            count, complete = count + 1, self._file.tell()
        self._file.truncate(complete)
        return count


def _pack(outputs: Outputs, seconds: float) -> bytes:
    stream = io.BytesIO()
    arrays = {name: value for name, value in outputs._asdict().items() if value is not None}
    np.savez(stream, seconds=np.float64(seconds), **arrays)
    return zlib.compress(stream.getvalue(), 1)


def _pack_error(error: InferenceError) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, error=np.array(str(error)))
    return zlib.compress(stream.getvalue(), 1)


def _unpack(data: bytes) -> tuple[Outputs, float]:
    with np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False) as arrays:
        if 'error' in arrays:
            raise InferenceError(str(arrays['error']))
        values: dict[str, Any] = {name: arrays[name] for name in Outputs._fields if name in arrays}
        return Outputs(**values), float(arrays['seconds'])
