# SPDX-License-Identifier: Apache-2.0
"""Format and size of encoded images."""

import struct

import cv2
import numpy as np
import pytest

from panoptic_ros.images.files import read_image_file

PIXELS = np.random.default_rng(0).integers(0, 255, (21, 35, 3), np.uint8)


def encode(ending: str, pixels: np.ndarray = PIXELS, *flags: int) -> bytes:
    return cv2.imencode(ending, pixels, flags)[1].tobytes()


def tiff(order: str, *entries: tuple[int, int, int], start: int = 8) -> bytes:
    """Return a TIFF header from (tag, format, value) of short and long numbers."""
    data = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(f'{order}I', start)
    data += struct.pack(f'{order}H', len(entries))
    for tag, kind, value in entries:
        data += struct.pack(f'{order}HHI', tag, kind, 1)
        data += struct.pack(f'{order}HH' if kind == 3 else f'{order}I', *([value, 0][: 5 - kind]))
    return data + bytes(9)


def webp_extended(width: int, height: int) -> bytes:
    chunk = bytes(4) + (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    return b'RIFF' + struct.pack('<I', 22) + b'WEBPVP8X' + struct.pack('<I', 10) + chunk


def bmp(width: int, height: int, bits: int = 24) -> bytes:
    rows = (width * bits + 31) // 32 * 4 * abs(height)
    head = b'BM' + struct.pack('<I4xI', 54 + rows, 54)
    return (
        head
        + struct.pack('<IiiHHIIiiII', 40, width, height, 1, bits, 0, rows, 0, 0, 0, 0)
        + bytes(rows)
    )


@pytest.mark.parametrize(
    ('data', 'kind', 'size'),
    [
        *((encode(f'.{kind}'), kind, (21, 35)) for kind in ('png', 'webp', 'tiff', 'bmp')),
        (encode('.webp', PIXELS, cv2.IMWRITE_WEBP_QUALITY, 50), 'webp', (21, 35)),  # lossy
        (encode('.webp', PIXELS, cv2.IMWRITE_WEBP_QUALITY, 101), 'webp', (21, 35)),  # lossless
        (webp_extended(5000, 70), 'webp', (70, 5000)),
        (tiff('<', (256, 3, 300), (257, 4, 200)), 'tiff', (200, 300)),
        (tiff('>', (256, 3, 300), (257, 4, 200)), 'tiff', (200, 300)),
        (bmp(30, 20), 'bmp', (20, 30)),
        (bmp(31, -20, 8), 'bmp', (20, 31)),  # the first row is at the top
    ],
)
def test_kind_and_size_are_read(data, kind, size):
    image = read_image_file(data)
    assert (image.kind, (image.height, image.width)) == (kind, size)
    assert image.end <= len(data)


@pytest.mark.parametrize(
    ('data', 'is_deep'),
    [
        (encode('.png', PIXELS[..., 0].astype(np.uint16)), True),
        (encode('.tiff', PIXELS[..., 0].astype(np.uint16)), True),
        (encode('.tiff', PIXELS[..., 0].astype(np.float32)), True),
        (encode('.png', PIXELS.astype(np.uint16)), False),
        (encode('.png', PIXELS[..., 0]), False),
    ],
)
def test_deep_grey_is_told(data, is_deep):
    assert read_image_file(data).is_deep_grey == is_deep


HUGE = (1 << 24) - 1


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (webp_extended(HUGE, HUGE), 'too large: 16777215 x 16777215'),
        (tiff('<', (256, 4, HUGE), (257, 4, HUGE)), 'too large'),
        (tiff('<', (256, 4, 10), (257, 4, 10), (322, 4, HUGE), (323, 4, HUGE)), 'tiles'),
        (tiff('>'), 'no size'),
        (tiff('<', (256, 3, 9), (257, 3, 9), (273, 4, 70), (279, 4, 7)), 'lacks a part'),
        (tiff('>', (256, 3, 9), (257, 3, 9), (324, 3, 7), (325, 3, 70)), 'lacks a part'),
        (bmp(30, 20)[:14] + b'\x29' + bmp(30, 20)[15:], 'header makes no sense'),
        (tiff('<', start=2**32 - 1), 'do not say its size'),
        (bmp(30, 20)[:600], 'cut short: it has 600 of 1894 bytes'),
        (
            b'BM'
            + struct.pack('<I4xI', 99, 54)
            + struct.pack('<Iii', 40, 2**31 - 1, -(2**31))
            + bytes(40),
            'too large',
        ),
        (
            encode('.png')[:16] + struct.pack('>II', 2**31 - 1, 2**31 - 1) + encode('.png')[24:],
            'too large',
        ),
        (encode('.png')[:40], 'end marker is missing'),
        (encode('.webp')[:-1], 'cut short'),
        (b'GIF89a' + bytes(50), 'expected jpeg, png, webp, tiff, bmp'),
    ],
)
def test_faults_are_told_in_one_line(data, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        read_image_file(data)
    assert '\n' not in str(caught.value)
