# SPDX-License-Identifier: Apache-2.0
"""PNG files of ids: 8-bit RGB, id = R + 256 G + 65536 B."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.png import read_png_chunks
from panoptic_ros.core.text import counted

MAX_PIXELS = 89_478_485
"""Largest number of pixels of an image file, Pillow's warning limit too; a small file can declare
far more."""

_RGB = (2, 6)
"""Types of colour: RGB, and RGB with alpha, which is ignored. Colours of a palette are no ids."""


def read_png(path: Path, where: str) -> npt.NDArray[np.uint32]:
    """Read a PNG of ids.

    Args:
        path: the file.
        where: name of the file in error messages.

    Returns:
        (H, W) ids.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not an 8-bit RGB PNG, or has more than MAX_PIXELS.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{where} does not exist')
    data = path.read_bytes()
    if not data.startswith(b'\x89PNG'):
        raise ValueError(f'{where} is not an 8-bit RGB PNG')
    try:
        png = read_png_chunks(data)
    except ValueError as error:
        raise ValueError(f'{where} is a damaged PNG: {error}') from None
    if png.bits != 8 or png.colour not in _RGB:
        channels = 'a palette' if png.colour == 3 else counted(png.channels, 'channel')
        raise ValueError(
            f'{where} is not an 8-bit RGB PNG: it has {channels} of {png.bits} bits; '
            'write an id as R + 256 G + 65536 B'
        )
    if png.height * png.width > MAX_PIXELS:
        raise ValueError(
            f'{where} has {png.width} x {png.height} pixels, expected {MAX_PIXELS} at most'
        )
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[:2] != (png.height, png.width):
        raise ValueError(f'{where} is a damaged PNG')
    rgba = cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_BGR2RGBA)
    return np.asarray(rgba.view('<u4')[:, :, 0] & 0xFFFFFF, np.uint32)


def write_png(ids: npt.NDArray[np.integer[Any]], path: Path) -> None:
    """Write (H, W) ids below 2**24 as a PNG that `read_png` reads; the write is atomic."""
    rgba = np.ascontiguousarray(ids, '<u4').view(np.uint8).reshape(*ids.shape, 4)
    done, png = cv2.imencode('.png', cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR))
    assert done
    write_bytes(png.tobytes(), path)
