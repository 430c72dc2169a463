# SPDX-License-Identifier: Apache-2.0
"""Format, size and completeness of encoded images, determined before they are decoded.

A small file can declare a huge image, and decoders fill missing data with grey, so each file is
checked first.
"""

import operator
import struct
from collections.abc import Callable
from typing import NamedTuple

from panoptic_ros.images.jpeg import Jpeg, read_jpeg

MAX_IMAGE_PIXELS = 100_000_000
"""Largest image that is decoded, unless the caller sets another limit."""

_TIFF_SIZES = {3: 'H', 4: 'I'}  # formats of SHORT and LONG
_TIFF_PARTS = ((273, 279), (324, 325))  # positions and lengths of strips, of tiles
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}  # lengths of the versions of the header, bytes


class ImageFile(NamedTuple):
    """Properties of an encoded image."""

    kind: str
    """jpeg, png, webp, tiff or bmp."""

    height: int
    width: int
    end: int
    """Length of the image, bytes; some drivers append padding."""

    is_deep_grey: bool = False
    """Whether it has a single channel of 16 bits."""

    jpeg: Jpeg | None = None


def read_image_file(data: bytes, max_pixels: int = MAX_IMAGE_PIXELS) -> ImageFile:
    """Read the properties of an encoded image without decoding it.

    Args:
        data: the file, possibly followed by padding.
        max_pixels: largest image to accept.

    Raises:
        ValueError: if it is of another format, truncated, damaged or too large.
    """
    read = next((read for magic, place, read in _KINDS if data.startswith(magic, place)), None)
    if not data:
        raise ValueError('the image is empty')
    if read is None:
        raise ValueError(
            f'expected {", ".join(KINDS)}, got {len(data)} bytes that start with {data[:4].hex()}'
        )
    try:
        image = read(data)
    except (struct.error, IndexError):
        raise ValueError('the image is cut short: its first bytes do not say its size') from None
    if image.height < 1 or image.width < 1:
        raise ValueError(f'the {image.kind} image has no size ({image.width} x {image.height})')
    if image.height * image.width > max_pixels:
        raise ValueError(
            f'the {image.kind} image is too large: {image.width} x {image.height} '
            f'pixels, the limit is {max_pixels}'
        )
    if image.end > len(data):
        raise ValueError(
            f'the {image.kind} image is cut short: it has {len(data)} of {image.end} bytes'
        )
    return image


def is_image(start: bytes) -> bool:
    """Return whether a file starts like one of `KINDS`; 12 bytes suffice."""
    return any(start.startswith(magic, place) for magic, place, _ in _KINDS)


def _read_jpeg(data: bytes) -> ImageFile:
    jpeg = read_jpeg(data)
    return ImageFile('jpeg', jpeg.height, jpeg.width, jpeg.end, jpeg=jpeg)


def _read_png(data: bytes) -> ImageFile:
    width, height, depth, colour = struct.unpack_from('>IIBB', data, 16)
    place, kind = 8, b''
    while kind != b'IEND':
        if place + 12 > len(data):
            raise ValueError('the png image is cut short: its end marker is missing')
        length, kind = struct.unpack_from('>I4s', data, place)
        place += 12 + length
    return ImageFile('png', height, width, place, is_deep_grey=depth == 16 and colour == 0)


def _read_webp(data: bytes) -> ImageFile:
    (end,) = struct.unpack_from('<I', data, 4)
    place = 12
    while place + 8 <= min(8 + end, len(data)):  # the decoder accepts chunks of a wrong size
        (size,) = struct.unpack_from('<I', data, place + 4)
        place += 8 + size + size % 2
    if place != 8 + end <= len(data):
        raise ValueError('the webp image is damaged: its sizes contradict each other')
    kind = data[12:16]
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', data, 26)
        width, height = width & 0x3FFF, height & 0x3FFF
    elif kind == b'VP8L':
        (bits,) = struct.unpack_from('<I', data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b'VP8X':
        width, height = (
            int.from_bytes(data[place : place + 3], 'little') + 1 for place in (24, 27)
        )
    else:
        raise ValueError(f'the webp image is damaged: it starts with a {kind!r} chunk')
    return ImageFile('webp', height, width, 8 + end)


def _read_tiff(data: bytes) -> ImageFile:
    order = '<' if data.startswith(b'II') else '>'
    (start,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, start)
    values: dict[int, int] = {}
    lists: dict[int, tuple[int, ...]] = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f'{order}HHI', data, place)
        if kind not in _TIFF_SIZES or number > len(data):
            continue
        form, place = f'{order}{number}{_TIFF_SIZES[kind]}', place + 8
        if struct.calcsize(form) > 4:
            (place,) = struct.unpack_from(f'{order}I', data, place)
        lists[tag] = struct.unpack_from(form, data, place)
        if number == 1:
            values[tag] = lists[tag][0]
    for places, sizes in _TIFF_PARTS:
        ends = map(operator.add, lists.get(places, ()), lists.get(sizes, ()))
        if max(ends, default=0) > len(data):
            raise ValueError('the tiff image is cut short: it lacks a part of its data')
    width, height = values.get(256, 0), values.get(257, 0)
    tile = values.get(322, 0) * values.get(323, 0)
    if tile > max(4 * width * height, 1 << 20):
        raise ValueError(f'the tiff image has tiles of {tile} pixels, larger than itself')
    is_grey = values.get(277, 1) == 1 and values.get(258, 1) >= 16
    return ImageFile('tiff', height, width, len(data), is_deep_grey=is_grey)


def _read_bmp(data: bytes) -> ImageFile:
    size, start, header = struct.unpack_from('<I4xII', data, 2)
    if header not in _BMP_HEADERS or start < 14 + header:
        raise ValueError('the bmp image is damaged: its header makes no sense')
    if header == 12:
        width, height = struct.unpack_from('<HH', data, 18)
        bits, compression = struct.unpack_from('<H', data, 24)[0], 0
    else:
        width, height, bits, compression = struct.unpack_from('<ii2xHI', data, 18)
    height = abs(height)  # negative if the first row is the top one
    if compression in (0, 3):
        size = start + (width * bits + 31) // 32 * 4 * height
    return ImageFile('bmp', height, width, size)


_KINDS: tuple[tuple[bytes, int, Callable[[bytes], ImageFile]], ...] = (
    (b'\xff\xd8\xff', 0, _read_jpeg),
    (b'\x89PNG\r\n\x1a\n', 0, _read_png),
    (b'WEBP', 8, _read_webp),
    (b'II*\0', 0, _read_tiff),
    (b'MM\0*', 0, _read_tiff),
    (b'BM', 0, _read_bmp),
)

KINDS = ('jpeg', 'png', 'webp', 'tiff', 'bmp')
"""Formats of encoded images that are read."""
