# SPDX-License-Identifier: Apache-2.0
"""Decompression within limits.

A few kilobytes can decompress to gigabytes, so every function has a limit that does not depend on
the sizes named in the data.
"""

import bz2
import shutil
from pathlib import Path
from typing import Any

MAX_BYTES = 256 << 20
"""Largest chunk or message; a raw colour image of 89 megapixels fits."""

MAX_FILE_BYTES = 1 << 30
MAX_FILE_RATIO = 100
"""Limits of a decompressed storage file: the larger of `MAX_FILE_BYTES` and its compressed size
times `MAX_FILE_RATIO`."""

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'

_READ_BYTES = 1 << 16
_WRITE_BYTES = 1 << 20


class UnpackError(ValueError):
    """Data that cannot be decompressed within the limits."""


def unpack(kind: str, data: bytes | memoryview, size: int) -> tuple[bytes | memoryview, bool]:
    """Decompress a block.

    Args:
        kind: `zstd`, `lz4`, `bz2`; empty or `none` for plain data.
        data: compressed bytes, may be truncated.
        size: largest result, bytes, at most `MAX_BYTES`.

    Returns:
        The decompressed bytes, and whether the data are complete.

    Raises:
        UnpackError: if the data are damaged, are of another kind, or decompress to more than
            `size`.
    """
    if size > MAX_BYTES:
        raise UnpackError(f'a block of {size} bytes is over the limit of {MAX_BYTES}')
    if kind in ('', 'none'):
        if len(data) > size:
            raise UnpackError(f'a block holds more than the {size} bytes that were expected')
        return data, True
    unpacker = _unpacker(kind)
    try:
        out = unpacker.decompress(data, size + 1)
    except (RuntimeError, EOFError, OSError, ValueError, _zstd().ZstdError) as error:
        raise UnpackError(f'damaged {kind} data: {" ".join(str(error).split())}') from None
    if len(out) > size:
        raise UnpackError(
            f'a block of {kind} data unpacks to more than the {size} bytes that were expected'
        )
    return out, unpacker.eof


def unpack_message(data: bytes) -> bytes | memoryview:
    """Decompress a message that was compressed individually; return any other message unchanged.

    Storage files do not record which messages are compressed, but no other message starts with the
    magic number of zstd.

    Raises:
        UnpackError: see `unpack`; also if the data are truncated.
    """
    if data[:4] != ZSTD_MAGIC:
        return data
    try:
        size = _zstd().get_frame_info(data).decompressed_size
    except _zstd().ZstdError as error:
        raise UnpackError(f'damaged zstd data: {error}') from None
    # With the exact size, which most frames hold, libzstd is five times as fast.
    out, is_complete = unpack('zstd', data, MAX_BYTES if size is None else size)
    if not is_complete:
        raise UnpackError('the compressed message is cut short')
    return out


def unpack_file(source: Path, target: Path) -> str:
    """Decompress a file of zstd data up to the first damage.

    Returns:
        A description of the damage; empty if there is none.

    Raises:
        UnpackError: if the result is larger than the limit or the free disk space.
    """
    limit = max(MAX_FILE_BYTES, source.stat().st_size * MAX_FILE_RATIO)
    room = shutil.disk_usage(target.parent).free * 9 // 10
    written = 0
    with source.open('rb') as packed, target.open('wb') as out:
        unpacker = _unpacker('zstd')
        block, is_between = b'', True  # between two frames
        while True:
            if unpacker.eof:
                block, unpacker, is_between = unpacker.unused_data, _unpacker('zstd'), True
            if not block and unpacker.needs_input:
                block = packed.read(_READ_BYTES)
                if not block:
                    return '' if is_between and written else f'{source.name} is cut short'
            try:
                piece = unpacker.decompress(block, _WRITE_BYTES)
            except (_zstd().ZstdError, EOFError) as error:
                return f'{source.name} is damaged: {" ".join(str(error).split())}'
            block, is_between = b'', False
            written += len(piece)
            if written > limit:
                raise UnpackError(
                    f'{source.name} unpacks to more than {limit} bytes, the limit '
                    'for a file of its size'
                )
            if written > room:
                raise UnpackError(
                    f'{source.name} needs more room to unpack than {target.parent} has'
                )
            out.write(piece)


def _unpacker(kind: str) -> Any:
    """Return a decompressor with the methods of `bz2.BZ2Decompressor`."""
    if kind == 'zstd':
        return _zstd().ZstdDecompressor()
    if kind == 'bz2':
        return bz2.BZ2Decompressor()
    if kind == 'lz4':
        from lz4.frame import LZ4FrameDecompressor

        return LZ4FrameDecompressor()
    raise UnpackError(f'compression must be zstd, lz4, bz2 or none, got {kind[:40]!r}')


def _zstd() -> Any:
    """Return the zstd module of Python 3.14, or its backport, which rosbags installs."""
    try:
        from compression import zstd  # type: ignore[import-not-found]
    except ImportError:
        from backports import zstd
    return zstd
