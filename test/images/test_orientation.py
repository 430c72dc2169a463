# SPDX-License-Identifier: Apache-2.0
"""EXIF orientation of image files, compared with Pillow."""

import io
import struct

import numpy as np
import pytest

from panoptic_ros.core.image import CameraImage
from panoptic_ros.images.orientation import exif_orientation, upright
from panoptic_ros.predictions.inputs import read_upright

PIXELS = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
PIXELS = np.kron(PIXELS, np.ones((8, 8, 1), np.uint8))


@pytest.mark.parametrize('order', ['<', '>'])
def test_the_exif_orientation_is_read(order):
    def photo(value, tag=0x112):
        entries = struct.pack(f'{order}HHHIH2x', 1, tag, 3, 1, value)
        head = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(f'{order}I', 8)
        return b'\xff\xd8\xff\xe1\0\x22Exif\0\0' + head + entries

    assert [exif_orientation(photo(value)) for value in (0, 1, 6, 8, 9)] == [1, 1, 6, 8, 1]
    assert exif_orientation(photo(6, tag=0x113)) == 1
    whole = photo(6)
    assert {exif_orientation(whole[:end]) for end in range(len(whole) - 2)} == {1}
    assert exif_orientation(b'MM' + whole) == 1


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize(
    ('kind', 'settings'),
    [
        ('JPEG', {'quality': 95, 'subsampling': 0}),
        ('PNG', {}),
        ('WEBP', {'lossless': True}),
        ('TIFF', {}),
    ],
)
def test_images_are_read_as_viewers_show_them(kind, settings, orientation):
    image, ops = pytest.importorskip('PIL.Image'), pytest.importorskip('PIL.ImageOps')
    picture, file = image.fromarray(PIXELS), io.BytesIO()
    exif = picture.getexif()
    exif[0x112] = orientation
    picture.save(file, kind, exif=exif, **settings)
    expected = np.asarray(ops.exif_transpose(image.open(file)).convert('RGB'))
    read = read_upright(file.getvalue())
    assert read.order == 'bgr' and read.pixels.flags.c_contiguous
    assert read.pixels.shape == expected.shape
    assert np.abs(read.pixels[..., ::-1].astype(int) - expected).mean() < 3


@pytest.mark.parametrize('orientation', range(1, 9))
def test_grey_images_are_turned_too(orientation):
    turned = upright(CameraImage(PIXELS, 'rgb'), orientation).pixels[..., 0]
    grey = upright(CameraImage(PIXELS[..., 0], 'mono'), orientation).pixels
    np.testing.assert_array_equal(grey, turned)


def test_damaged_chunks_are_no_orientation():
    for start in (b'\x89PNG\r\n\x1a\n', b'RIFF\0\0\0\0WEBP'):
        for data in (b'', b'eXI', b'eXIf' * 3, b'\xff' * 40, bytes(40)):
            assert exif_orientation(start + data) == 1
