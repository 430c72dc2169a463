# SPDX-License-Identifier: Apache-2.0
"""Checks of PNG files before they are decoded.

A decoder may allocate gigabytes for a chunk whose length is wrong (OpenCV), or return wrong or
black pixels for a damaged or truncated file (Pillow).
"""

import struct
import zlib
from typing import NamedTuple

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels by type of colour: grey, RGB, palette, grey with alpha, RGB with alpha."""

_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row of each pass of an interlaced image, and its steps, px."""


class Png(NamedTuple):
    """Content of a PNG file."""

    height: int
    width: int
    bits: int
    """Bits per channel."""

    colour: int
    """Type of colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""

    is_interlaced: bool
    packed: bytes
    """Compressed rows."""

    @property
    def channels(self) -> int:
        """Number of channels; 0 for an unknown type of colour."""
        return _CHANNELS.get(self.colour, 0)


def read_png_chunks(data: bytes) -> Png:
    """Read the chunks of a PNG, and check that they are complete and have the right checksums.

    Args:
        data: the file; anything may follow its end.

    Raises:
        ValueError: if it is damaged or truncated; the message lacks the path.
    """
    if not data.startswith(_SIGNATURE):
        raise ValueError('it is not a png image')
    view, header, packed, kind, place = memoryview(data), b'', [], b'', len(_SIGNATURE)
    while kind != b'IEND':
        if place + 12 > len(data):
            raise ValueError('the png image is cut short: its end marker is missing')
        size, kind = struct.unpack_from('>I4s', data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            raise ValueError('the png image is cut short: a part of its data is missing')
        body = view[place + 8 : end]
        (checksum,) = struct.unpack_from('>I', data, end)
        if zlib.crc32(body, zlib.crc32(kind)) != checksum:
            raise ValueError('the png image is damaged: a checksum is wrong')
        if kind == b'IHDR':
            header = bytes(body)
        elif kind == b'IDAT':
            packed.append(body)
        place = end + 4
    if len(header) != 13:
        raise ValueError('the png image is damaged: its header is not complete')
    width, height, bits, colour, _, _, interlaced = struct.unpack('>IIBBBBB', header)
    return Png(height, width, bits, colour, bool(interlaced), b''.join(packed))


def check_png(data: bytes) -> None:
    """Check that a PNG is complete, including the amount of data.

    libpng, the decoder inside OpenCV, checks the amount itself.

    Args:
        data: the file; anything may follow its end.

    Raises:
        ValueError: if it is damaged or truncated; the message lacks the path.
    """
    png = read_png_chunks(data)
    expected, unpacker = _data_size(png), zlib.decompressobj()
    try:
        found = len(unpacker.decompress(png.packed, expected + 1))
    except zlib.error as error:
        raise ValueError(f'the png image is damaged: {error}') from None
    if found != expected or not unpacker.eof:
        raise ValueError(
            f'the png image is damaged: its rows have {found} bytes, expected {expected}'
        )


def _data_size(png: Png) -> int:
    """Return the bytes of the decompressed rows, each with a byte that names its filter."""
    bits = png.bits * png.channels
    total = 0
    for x, y, step_x, step_y in _PASSES if png.is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(png.width - x) // step_x), -(-(png.height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total
