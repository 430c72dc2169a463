# SPDX-License-Identifier: Apache-2.0
"""Conversion of image messages."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from panoptic_ros.images.encodings import BAYER, ENCODINGS
from panoptic_ros.images.messages import read_compressed_image, read_image

HEIGHT, WIDTH = 12, 16


def scene() -> np.ndarray:
    """Return (H, W, 3) RGB without edges, so that subsampling and demosaicing lose little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([60 + 6 * x, 200 - 5 * y, 40 + 4 * x + 4 * y], axis=-1).astype(np.uint8)


def message(rows: np.ndarray, encoding: str, padding: int = 0, **changes) -> SimpleNamespace:
    """Return an Image with `padding` bytes at the end of each row."""
    rows = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=171)
    values = {
        'height': HEIGHT,
        'width': WIDTH,
        'encoding': encoding,
        'is_bigendian': 0,
        'step': padded.shape[1],
        'data': padded.tobytes(),
    }
    return SimpleNamespace(**values | changes)


def yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return video-range Y, U and V planes by BT.601's formulas."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return tuple(np.rint(plane).astype(np.uint8) for plane in (y, u, v))


def packed_yuv(order: str) -> np.ndarray:
    """Return (H, W, 2) with bytes in the given order, such as `uyvy`."""
    y, u, v = yuv(scene())
    planes = {'u': u[:, ::2], 'v': v[:, ::2]}
    luma = iter((y[:, ::2], y[:, 1::2]))
    columns = [next(luma) if name == 'y' else planes[name] for name in order]
    return np.stack(columns, axis=-1).reshape(HEIGHT, WIDTH, 2)


def semi_planar(chroma: str) -> np.ndarray:
    """Return (H * 3/2, W): Y, then rows with pairs of chroma."""
    y, u, v = yuv(scene())
    planes = {'u': u[::2, ::2], 'v': v[::2, ::2]}
    pairs = np.stack([planes[name] for name in chroma], axis=-1)
    return np.vstack([y, pairs.reshape(HEIGHT // 2, WIDTH)])


def semi_planar_444() -> np.ndarray:
    """Return (H * 3, W): Y, then rows with a pair of chroma for each pixel."""
    y, u, v = yuv(scene())
    return np.vstack([y, np.stack([u, v], axis=-1).reshape(2 * HEIGHT, WIDTH)])


def deep(pixels: np.ndarray, order: str = '<') -> np.ndarray:
    """Return 16-bit pixels whose low byte is noise, which must be ignored."""
    return (pixels.astype(f'{order}u2') << 8 | 77).astype(f'{order}u2')


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    return np.dstack([pixels, np.full((HEIGHT, WIDTH), 9, np.uint8)])


def bayer(pattern: str, rgb: np.ndarray | None = None) -> np.ndarray:
    """Return (H, W): each pixel has the channel that the pattern's 2 x 2 tile names."""
    rgb = scene() if rgb is None else rgb
    mosaic = np.empty(rgb.shape[:2], np.uint8)
    for place, name in enumerate(pattern):
        y, x = divmod(place, 2)
        mosaic[y::2, x::2] = rgb[y::2, x::2, 'rgb'.index(name)]
    return mosaic


def to_rgb(image) -> np.ndarray:
    return image.pixels if image.order == 'rgb' else image.pixels[..., ::-1]


COLOUR_CASES = {  # encoding: (data, largest difference)
    'rgb8': (scene(), 0),
    'bgr8': (scene()[..., ::-1], 0),
    '8UC3': (scene()[..., ::-1], 0),  # OpenCV's order, as cv_bridge takes it
    'rgba8': (with_alpha(scene()), 0),
    'bgra8': (with_alpha(scene()[..., ::-1]), 0),
    '8UC4': (with_alpha(scene()[..., ::-1]), 0),
    'rgb16': (deep(scene()), 0),
    'bgr16': (deep(scene()[..., ::-1]), 0),
    '16UC3': (deep(scene()[..., ::-1]), 0),
    'rgba16': (deep(with_alpha(scene())), 0),
    'bgra16': (deep(with_alpha(scene()[..., ::-1])), 0),
    '16UC4': (deep(with_alpha(scene()[..., ::-1])), 0),
    'yuv422': (packed_yuv('uyvy'), 5),
    'uyvy': (packed_yuv('uyvy'), 5),
    'yuv422_yuy2': (packed_yuv('yuyv'), 5),
    'yuyv': (packed_yuv('yuyv'), 5),
    'nv12': (semi_planar('uv'), 12),
    'nv21': (semi_planar('vu'), 12),
    'nv24': (semi_planar_444(), 5),
    **{f'bayer_{pattern}8': (bayer(pattern), 8) for pattern in BAYER},
    **{f'bayer_{pattern}16': (deep(bayer(pattern)), 8) for pattern in BAYER},
}


@pytest.mark.parametrize('padding', [0, 10])
@pytest.mark.parametrize('encoding', COLOUR_CASES)
def test_colours_are_right_with_and_without_padded_rows(encoding, padding):
    data, tolerance = COLOUR_CASES[encoding]
    image = read_image(message(data, encoding, padding))
    assert image.pixels.shape == (HEIGHT, WIDTH, 3)
    difference = np.abs(to_rgb(image).astype(int) - scene())
    inner = difference[1:-1, 1:-1]  # demosaicing repeats the border
    assert inner.max() <= tolerance


def test_every_encoding_has_a_case():
    assert set(ENCODINGS) == {*COLOUR_CASES, 'mono8', '8UC1', 'mono16'}


@pytest.mark.parametrize('encoding', [name for name in COLOUR_CASES if name.endswith('16')])
def test_the_byte_order_of_16_bits_is_the_messages(encoding):
    data = COLOUR_CASES[encoding][0]
    little = read_image(message(data, encoding))
    big = read_image(message(data.astype('>u2'), encoding, is_bigendian=1))
    np.testing.assert_array_equal(little.pixels, big.pixels)


@pytest.mark.parametrize('pattern', BAYER)
@pytest.mark.parametrize(('height', 'width'), [(11, 16), (12, 15), (11, 15)])
def test_a_mosaic_may_have_odd_sizes(pattern, height, width):
    rgb = scene()[:height, :width]
    image = read_image(
        message(bayer(pattern, rgb), f'bayer_{pattern}8', height=height, width=width)
    )
    difference = np.abs(to_rgb(image).astype(int) - rgb)
    assert difference[1:-1, 1:-1].max() <= 8


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'nv24'])
def test_planes_may_be_counted_into_the_step(encoding):
    data = COLOUR_CASES[encoding][0]
    plain = read_image(message(data, encoding))
    counted = read_image(message(data, encoding, step=data.size // HEIGHT))
    np.testing.assert_array_equal(plain.pixels, counted.pixels)


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'big'),
    [
        ('mono8', 'u1', 0),
        ('8UC1', 'u1', 0),
        ('mono16', '<u2', 0),
        ('mono16', '>u2', 1),  # the flag counts, not the machine
    ],
)
@pytest.mark.parametrize('padding', [0, 6])
def test_mono_gives_the_high_byte(encoding, dtype, big, padding):
    grey = scene()[..., 0]
    data = grey if dtype == 'u1' else (grey.astype(dtype) << 8 | 77).astype(dtype)
    image = read_image(message(data, encoding, padding, is_bigendian=big))
    assert image.order == 'mono'
    np.testing.assert_array_equal(image.pixels, grey)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', '8UC3', 'mono8'])
@pytest.mark.parametrize('padding', [0, 10])
def test_plain_encodings_are_views(encoding, padding):
    data = scene()[..., 0] if encoding == 'mono8' else scene()
    source = message(data, encoding, padding)
    pixels = read_image(source).pixels
    assert np.shares_memory(pixels, np.frombuffer(source.data, np.uint8))


BAD_IMAGES = [  # changes, part of the reason
    ({'encoding': '16UC1'}, '16UC1'),  # depth
    ({'encoding': 'rgb16'}, 'step must be at least 96'),
    ({'encoding': ''}, "encoding '' cannot be read"),
    ({'height': 0, 'data': b''}, 'at least 1 x 1'),
    ({'width': 0, 'step': 0, 'data': b''}, 'at least 1 x 1'),
    ({'step': WIDTH * 3 - 1}, 'step must be at least 48'),
    ({'step': 0}, 'step must be at least 48'),  # some drivers leave it out
    ({'data': b'\0' * 575}, 'got 575'),  # a byte short
    ({'data': b'\0' * 577}, 'got 577'),  # a byte long
    ({'data': b''}, 'got 0'),
    ({'height': HEIGHT + 1}, 'data must hold 13 rows'),
    ({'encoding': 'nv12', 'height': 11, 'step': WIDTH}, 'multiple of 2 x 2'),
    ({'encoding': 'yuv422', 'width': 15, 'step': 48}, 'multiple of 2 x 1'),
    ({'encoding': 'bayer_rggb8', 'width': 1, 'step': 48}, 'at least 3 x 3'),
]


@pytest.mark.parametrize(('changes', 'reason'), BAD_IMAGES)
def test_contradictions_are_refused_in_one_line(changes, reason):
    with pytest.raises(ValueError, match=reason) as error:
        read_image(message(scene(), **{'encoding': 'rgb8'} | changes))
    assert '\n' not in str(error.value)


def test_cv_bridge_reads_what_we_cannot():
    rare = message(scene(), 'rare')
    image = read_image(rare, lambda given: scene()[..., ::-1] if given is rare else None)
    np.testing.assert_array_equal(to_rgb(image), scene())


def test_a_failing_cv_bridge_is_a_bad_image():
    def fail(given):
        raise RuntimeError('no conversion')

    with pytest.raises(ValueError, match='no conversion'):
        read_image(message(scene(), 'rare'), fail)


def big_scene() -> np.ndarray:
    """Return an image that is large enough for truncating its JPEG in the middle."""
    return np.kron(scene(), np.ones((20, 20, 1), np.uint8))


def test_a_raw_image_above_the_limit_is_refused():
    with pytest.raises(ValueError, match='too large: 16 x 12 pixels, the limit is 191'):
        read_image(message(scene(), 'rgb8'), max_image_pixels=191)
    read_image(message(scene(), 'rgb8'), max_image_pixels=192)


def compressed(kind: str, image: np.ndarray | None = None) -> SimpleNamespace:
    image = big_scene()[..., ::-1] if image is None else image
    data = cv2.imencode(f'.{kind}', image)[1].tobytes()
    return SimpleNamespace(format=f'bgr8; {kind} compressed bgr8', data=data)


@pytest.mark.parametrize('kind', ['jpg', 'jpeg', 'png', 'webp', 'tiff', 'bmp'])
def test_compressed_images_are_decoded(kind):
    image = read_compressed_image(compressed(kind))
    assert image.order == 'bgr'
    tolerance = 12 if kind in ('jpg', 'jpeg') else 0
    assert np.abs(to_rgb(image).astype(int) - big_scene()).max() <= tolerance


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'webp', 'tiff', 'bmp'])
@pytest.mark.parametrize(
    'padding',
    [
        bytes(1),
        bytes(1 << 20),
        b'\xff' * 99,  # drivers that send their whole buffer
        b'\r\n--boundary',
        compressed('jpeg').data,
    ],
    ids=['zero', 'zeros', 'ones', 'text', 'jpeg'],
)
def test_grey_and_padded_data_are_fine(kind, padding):
    message = compressed(kind, big_scene()[..., 0])
    message.data += padding
    assert read_compressed_image(message).pixels.shape == (240, 320, 3)


@pytest.mark.parametrize('kind', ['png', 'jpeg'])
@pytest.mark.parametrize('pattern', BAYER)
def test_a_compressed_mosaic_gets_its_colours(kind, pattern):
    smooth = cv2.resize(scene(), (320, 240))
    message = compressed(kind, bayer(pattern, smooth))
    message.format = f'bayer_{pattern}8; {kind} compressed '
    image = read_compressed_image(message)
    assert image.order == 'rgb'
    difference = np.abs(image.pixels.astype(int) - smooth)[2:-2, 2:-2]
    assert difference.mean() < (1 if kind == 'png' else 12)


def test_a_compressed_mosaic_of_16_bits_gets_its_colours():
    message = compressed('png', deep(bayer('grbg')))
    message.format = 'bayer_grbg16; png compressed '
    difference = np.abs(read_compressed_image(message).pixels.astype(int) - scene())
    assert difference[1:-1, 1:-1].max() <= 8


def test_colours_that_came_from_a_mosaic_stay():
    message = compressed('png')
    message.format = 'bayer_rggb8; png compressed bgr8'
    np.testing.assert_array_equal(to_rgb(read_compressed_image(message)), big_scene())


@pytest.mark.parametrize(
    'format_',
    [
        '16UC1; png compressed ',
        '32FC1; tiff compressed ',
        '16UC1; compressedDepth png',
        '32SC1; png compressed',
    ],
)
def test_depth_is_no_picture(format_):
    data = cv2.imencode('.png', np.full((9, 9), 1500, np.uint16))[1].tobytes()
    with pytest.raises(ValueError, match='expected a colour image'):
        read_compressed_image(SimpleNamespace(format=format_, data=data))


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'webp', 'tiff', 'bmp'])
def test_an_encoded_image_above_the_limit_is_not_decoded(kind, monkeypatch):
    message = compressed(kind)
    read_compressed_image(message, max_image_pixels=240 * 320)
    monkeypatch.setattr(cv2, 'imdecode', None)  # calling it would fail
    with pytest.raises(ValueError, match=f'{kind} image is too large: 320 x 240 pixels'):
        read_compressed_image(message, max_image_pixels=240 * 320 - 1)


def test_exif_orientation_does_not_turn_the_picture():
    data = compressed('jpeg')
    tiff = b'MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'  # orientation 6
    body = b'Exif\0\0' + tiff
    segment = b'\xff\xe1' + (len(body) + 2).to_bytes(2, 'big') + body
    data.data = data.data[:2] + segment + data.data[2:]
    assert read_compressed_image(data).pixels.shape == (240, 320, 3)


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'webp', 'bmp'])
@pytest.mark.parametrize('share', [0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(kind, share):
    message = compressed(kind)
    message.data = message.data[: int(len(message.data) * share)]
    with pytest.raises(ValueError, match='cut short'):
        read_compressed_image(message)


@pytest.mark.parametrize(
    ('format_', 'data', 'reason'),
    [
        ('jpeg', b'', 'is empty'),
        ('jpeg', b'\xff\xd8\xff\xe0 garbage \xff\xd9', 'cut short'),
        ('png', b'\x89PNG\r\n\x1a\n garbage IEND', 'cut short'),
        ('webp', b'RIFF....WEBP', 'webp image is damaged'),
        ('tiff', b'II*\0\xff\xff\xff\xff', 'tiff image|do not say its size'),
        ('bmp', b'BM', 'do not say its size'),
        (
            'h264',
            b'\0\0\0\1\x67' + bytes(200),
            'expected jpeg, png, webp, tiff, bmp, got 205 bytes',
        ),
        ('16UC1; compressedDepth png', b'\x89PNG', 'compressedDepth'),
    ],
)
def test_other_data_is_refused_in_one_line(format_, data, reason):
    with pytest.raises(ValueError, match=reason) as error:
        read_compressed_image(SimpleNamespace(format=format_, data=data))
    assert '\n' not in str(error.value)
