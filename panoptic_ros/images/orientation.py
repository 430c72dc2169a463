# SPDX-License-Identifier: Apache-2.0
"""EXIF orientation of image files: how viewers turn the stored pixels.

Cameras of robots write none. Phones store the pixels as the sensor has them, and the orientation
beside them.
"""

import struct
from collections.abc import Iterator

import numpy as np

from panoptic_ros.core.image import CameraImage

_EXIF_BYTES = 1 << 16  # start of a JPEG file that holds its EXIF data
_MARK = b'Exif\0\0'
_ORIENTATION = 0x112


def exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG, PNG or WebP file.

    OpenCV applies that of a TIFF file itself.

    Returns:
        1 for an upright image, and for a file without a valid orientation; else 2 to 8.
    """
    tiff = _exif_of(data)
    order = '<' if tiff.startswith(b'II') else '>'
    try:
        (entries,) = struct.unpack_from(f'{order}4xI', tiff)
        (count,) = struct.unpack_from(f'{order}H', tiff, entries)
        for entry in range(entries + 2, entries + 2 + 12 * count, 12):
            tag, value = struct.unpack_from(f'{order}H6xH', tiff, entry)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # the entries are cut short
        pass
    return 1


def upright(image: CameraImage, orientation: int) -> CameraImage:
    """Turn or mirror an image by its EXIF orientation, 1 to 8."""
    pixels = image.pixels
    if orientation >= 5:  # rows are columns
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return image._replace(pixels=np.ascontiguousarray(pixels))


def _exif_of(data: bytes) -> bytes:
    """Return the EXIF data of a file, which have the form of a TIFF file; empty without."""
    if data.startswith(b'\xff\xd8\xff'):
        place = data.find(_MARK, 0, _EXIF_BYTES)
        return data[place + len(_MARK) : _EXIF_BYTES] if place >= 0 else b''
    for kind, chunk in _chunks(data):
        if kind in (b'eXIf', b'EXIF'):
            return chunk.removeprefix(_MARK)
    return b''


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the chunks of a PNG or WebP; nothing for other files."""
    is_png = data.startswith(b'\x89PNG\r\n\x1a\n')
    place = 8 if is_png else 12
    while (is_png or data[8:12] == b'WEBP') and place + 8 <= len(data):
        if is_png:
            size, kind = struct.unpack_from('>I4s', data, place)
        else:
            kind, size = struct.unpack_from('<4sI', data, place)
        yield kind, data[place + 8 : place + 8 + size]
        place += 8 + size + (4 if is_png else size % 2)  # a checksum, or padding
