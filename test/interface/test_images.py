from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from panoptic_ros.interface import images
from panoptic_ros.interface.images import read_compressed_image, read_image

HEIGHT, WIDTH = 12, 16


def scene() -> np.ndarray:
    """(H, W, 3) RGB without edges, so that chroma subsampling and demosaicing lose little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([60 + 6 * x, 200 - 5 * y, 40 + 4 * x + 4 * y], axis=-1).astype(np.uint8)


def message(rows: np.ndarray, encoding: str, padding: int = 0, **changes) -> SimpleNamespace:
    """An Image; its rows get `padding` bytes each."""
    rows = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=171)
    values = {'height': HEIGHT, 'width': WIDTH, 'encoding': encoding, 'is_bigendian': 0,
              'step': padded.shape[1], 'data': padded.tobytes()}
    return SimpleNamespace(**values | changes)


def yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Video-range Y, U and V planes by BT.601's formulas."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return tuple(np.rint(plane).astype(np.uint8) for plane in (y, u, v))


def packed_yuv(order: str) -> np.ndarray:
    """(H, W, 2) with bytes in the order given, e.g. `uyvy`."""
    y, u, v = yuv(scene())
    planes = {'u': u[:, ::2], 'v': v[:, ::2]}
    luma = iter((y[:, ::2], y[:, 1::2]))
    columns = [next(luma) if name == 'y' else planes[name] for name in order]
    return np.stack(columns, axis=-1).reshape(HEIGHT, WIDTH, 2)


def semi_planar(chroma: str) -> np.ndarray:
    """(H * 3/2, W): Y, then rows with pairs of chroma."""
    y, u, v = yuv(scene())
    planes = {'u': u[::2, ::2], 'v': v[::2, ::2]}
    pairs = np.stack([planes[name] for name in chroma], axis=-1)
    return np.vstack([y, pairs.reshape(HEIGHT // 2, WIDTH)])


def bayer(pattern: str) -> np.ndarray:
    """(H, W): each pixel has the channel that the pattern's 2 x 2 tile names."""
    rgb, mosaic = scene(), np.empty((HEIGHT, WIDTH), np.uint8)
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
    'rgba8': (np.dstack([scene(), np.full((HEIGHT, WIDTH), 9, np.uint8)]), 0),
    'bgra8': (np.dstack([scene()[..., ::-1], np.full((HEIGHT, WIDTH), 9, np.uint8)]), 0),
    'yuv422': (packed_yuv('uyvy'), 5),
    'uyvy': (packed_yuv('uyvy'), 5),
    'yuv422_yuy2': (packed_yuv('yuyv'), 5),
    'yuyv': (packed_yuv('yuyv'), 5),
    'nv12': (semi_planar('uv'), 12),
    'nv21': (semi_planar('vu'), 12),
    'bayer_rggb8': (bayer('rggb'), 8),
    'bayer_bggr8': (bayer('bggr'), 8),
    'bayer_gbrg8': (bayer('gbrg'), 8),
    'bayer_grbg8': (bayer('grbg'), 8),
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
    assert set(images.ENCODINGS) == {*COLOUR_CASES, 'mono8', '8UC1', 'mono16'}


@pytest.mark.parametrize(('encoding', 'dtype', 'big'), [
    ('mono8', 'u1', 0),
    ('8UC1', 'u1', 0),
    ('mono16', '<u2', 0),
    ('mono16', '>u2', 1),  # the flag counts, not the machine
])
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
    ({'encoding': 'rgb16'}, 'rgb16'),
    ({'encoding': ''}, 'encoding must be one of'),
    ({'height': 0, 'data': b''}, 'at least 1 x 1'),
    ({'width': 0, 'step': 0, 'data': b''}, 'at least 1 x 1'),
    ({'step': WIDTH * 3 - 1}, 'step must be at least 48'),
    ({'step': 0}, 'step must be at least 48'),        # some drivers leave it out
    ({'data': b'\0' * 575}, 'got 575'),               # a byte short
    ({'data': b'\0' * 577}, 'got 577'),               # a byte long
    ({'data': b''}, 'got 0'),
    ({'height': HEIGHT + 1}, 'data must hold 13 rows'),
    ({'encoding': 'nv12', 'height': 11, 'step': WIDTH}, 'multiple of 2 x 2'),
    ({'encoding': 'yuv422', 'width': 15, 'step': 48}, 'multiple of 2 x 1'),
    ({'encoding': 'bayer_rggb8', 'width': 1, 'step': 48}, 'multiple of 2 x 2'),
]


@pytest.mark.parametrize(('changes', 'reason'), BAD_IMAGES)
def test_contradictions_are_refused_in_one_line(changes, reason):
    with pytest.raises(ValueError, match=reason) as error:
        read_image(message(scene(), **{'encoding': 'rgb8'} | changes))
    assert '\n' not in str(error.value)


def test_cv_bridge_reads_what_we_cannot():
    rare = message(scene(), 'rgb16')
    image = read_image(rare, lambda given: scene()[..., ::-1] if given is rare else None)
    np.testing.assert_array_equal(to_rgb(image), scene())


def test_a_failing_cv_bridge_is_a_bad_image():
    def fail(given):
        raise RuntimeError('no conversion')
    with pytest.raises(ValueError, match='no conversion'):
        read_image(message(scene(), 'rgb16'), fail)


def big_scene() -> np.ndarray:
    """Large enough that a JPEG of it can be cut in its middle."""
    return np.kron(scene(), np.ones((20, 20, 1), np.uint8))


def compressed(kind: str, image: np.ndarray | None = None) -> SimpleNamespace:
    image = big_scene()[..., ::-1] if image is None else image
    data = cv2.imencode(f'.{kind}', image)[1].tobytes()
    return SimpleNamespace(format=f'bgr8; {kind} compressed bgr8', data=data)


@pytest.mark.parametrize('kind', ['jpg', 'jpeg', 'png'])
def test_compressed_images_are_decoded(kind):
    image = read_compressed_image(compressed(kind))
    assert image.order == 'bgr'
    assert np.abs(to_rgb(image).astype(int) - big_scene()).max() <= (0 if kind == 'png' else 12)


@pytest.mark.parametrize('kind', ['jpeg', 'png'])
def test_grey_and_padded_data_are_fine(kind):
    message = compressed(kind, big_scene()[..., 0])
    message.data += bytes(200)  # some cameras fill their last packet
    assert read_compressed_image(message).pixels.shape == (240, 320, 3)


def test_exif_orientation_does_not_turn_the_picture():
    data = compressed('jpeg')
    tiff = b'MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'  # orientation 6
    body = b'Exif\0\0' + tiff
    segment = b'\xff\xe1' + (len(body) + 2).to_bytes(2, 'big') + body
    data.data = data.data[:2] + segment + data.data[2:]
    assert read_compressed_image(data).pixels.shape == (240, 320, 3)


@pytest.mark.parametrize('kind', ['jpeg', 'png'])
@pytest.mark.parametrize('share', [0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(kind, share):
    message = compressed(kind)
    message.data = message.data[:int(len(message.data) * share)]
    with pytest.raises(ValueError, match='cut short'):
        read_compressed_image(message)


@pytest.mark.parametrize(('format_', 'data', 'reason'), [
    ('jpeg', b'', 'start with nothing'),
    ('jpeg', b'\xff\xd8\xff\xe0 garbage \xff\xd9', 'cannot be decoded'),
    ('png', b'\x89PNG\r\n\x1a\n garbage IEND', 'cannot be decoded'),
    ('webp', b'RIFF....WEBP', 'expected a jpeg or png'),
    ('16UC1; compressedDepth png', b'\x89PNG', 'compressedDepth'),
])
def test_other_data_is_refused_in_one_line(format_, data, reason):
    with pytest.raises(ValueError, match=reason) as error:
        read_compressed_image(SimpleNamespace(format=format_, data=data))
    assert '\n' not in str(error.value)
