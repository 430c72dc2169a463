# SPDX-License-Identifier: Apache-2.0
"""Check of PNG files: each damage is refused, and no valid kind of PNG is."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from panoptic_ros.core.png import check_png

SIZE = (13, 11)
STARTS = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def file(raw: bytes, bits: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    header = struct.pack('>IIBBBBB', SIZE[1], SIZE[0], bits, colour, 0, 0, interlaced)
    packed = zlib.compress(raw)
    parts = [(b'IHDR', header), (b'IDAT', packed[:20]), (b'IDAT', packed[20:]), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts)


def rows(pixels: np.ndarray) -> bytes:
    return b''.join(b'\0' + row.tobytes() for row in pixels)


GREY = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
GOOD = file(rows(GREY))


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'LA', 'RGB', 'RGBA', 'I;16'])
def test_each_kind_is_accepted(mode):
    out = io.BytesIO()
    is_deep = mode == 'I;16'
    image = Image.fromarray(GREY.astype(np.uint16) * 257 if is_deep else GREY)
    (image if is_deep else image.convert(mode)).save(out, 'png')
    check_png(out.getvalue())
    check_png(out.getvalue() + b'padding')


def test_an_interlaced_image_is_accepted():
    passes = [GREY[y::dy, x::dx] for x, y, dx, dy in [*STARTS, (0, 1, 1, 2)]]
    data = file(b''.join(map(rows, passes)), interlaced=1)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))), GREY)
    check_png(data)
    with pytest.raises(ValueError, match='rows have'):
        check_png(file(b''.join(map(rows, passes))[:-1], interlaced=1))


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'', 'not a png'),
        (GOOD[:-1], 'cut short'),
        (GOOD[:60], 'cut short'),
        (GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:], 'checksum'),
        (GOOD.replace(b'IDAT', b'ILAT', 1), 'checksum'),
        (file(rows(GREY)[:-12]), 'rows have'),
        (file(rows(GREY) + bytes(12)), 'rows have'),
        (file(rows(GREY), colour=7), 'rows have'),
        (GOOD[:8] + chunk(b'IEND', b''), 'header'),
        (file(b'').replace(zlib.compress(b''), b'notpacks'), 'checksum'),
    ],
)
def test_damage_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason) as got:
        check_png(data)
    assert '\n' not in str(got.value)
