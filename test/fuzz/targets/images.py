# SPDX-License-Identifier: Apache-2.0
"""Camera images in messages, raw and compressed, against slow readers and Pillow."""

import base64
import io
import math
import struct
import zlib
from itertools import product
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from PIL import Image

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from panoptic_ros.images.encodings import ENCODINGS
from panoptic_ros.images.messages import encoding_of, read_compressed_image, read_image

MAX_PIXELS = 4_000_000
"""Limit of the readers here, so that an image that is accepted takes a short time."""

NAMES = (*ENCODINGS, '16UC1', '32FC1', '32SC1', '64FC4', 'rgb', 'RGB8', '', 'bayer_xxxx8', 'jpeg')

YUV_TOLERANCE = 3
BYTES = {'8': 1, '16': 2}


def as_message(values: dict[str, Any]) -> SimpleNamespace:
    """Return an object with a message's attributes; `data` is stored as text."""
    return SimpleNamespace(**values | {'data': base64.b64decode(values['data'])})


def stored(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Raw images ------------------------------------------------------------------------------------


def layout(encoding: str, height: int, width: int) -> tuple[int, int]:
    """Return the bytes of a row and the number of rows of an encoding, by its documentation."""
    if encoding in ('nv12', 'nv21'):
        return width, height * 3 // 2
    if encoding == 'nv24':
        return width, height * 3
    if encoding in ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'):
        return width * 2, height
    if encoding.startswith('bayer_'):
        return width * (2 if encoding.endswith('16') else 1), height
    if encoding[0].isdigit():  # 8UC3
        bits, channels = encoding.split('UC')
        return width * int(bits) // 8 * int(channels), height
    name = encoding.rstrip('0123456789')
    channels = 1 if name == 'mono' else len(name)
    return width * channels * int(encoding.removeprefix(name)) // 8, height


def make_image(rng: Random) -> Case:
    encoding = rng.choice(tuple(ENCODINGS))
    height, width = (rng.choice((1, 2, 3, 4, 6, 7, 16, 33)) for _ in range(2))
    if encoding.startswith(('nv', 'yu', 'uy')):
        height, width = height + height % 2, width + width % 2
    if encoding.startswith('bayer'):
        height, width = max(height, 3), max(width, 3)
    row, rows = layout(encoding, height, width)
    step = row + rng.choice((0, 0, 1, 3, 16))
    values: dict[str, Any] = {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': rng.choice((0, 1)),
        'step': step,
        'data': stored(rng.randbytes(step * rows)),
    }
    kind = rng.random()
    if kind < 0.3:
        return Case({}, {'message': values, 'intact': True})
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(tuple(values))
        if name == 'data':
            data = base64.b64decode(values['data'])
            size = len(data) + rng.choice((-step, -1, 1, step, -len(data), 7))
            values['data'] = stored((data + bytes(100))[: max(0, size)])
        elif name == 'encoding':
            values['encoding'] = rng.choice((*NAMES, *mutate.TEXTS))
        elif name == 'is_bigendian':
            values[name] = rng.choice((0, 1, 2, 255))
        else:  # 32 bits without a sign, as the message has them
            old = values[name]
            near = (old + 1, old - 1, old * 2, old // 2, old + step)
            values[name] = rng.choice((*near, rng.choice(mutate.NUMBERS))) % 2**32
    if rng.random() < 0.5 and values['height'] * values['step'] < 100_000:  # sizes that agree
        values['data'] = stored(rng.randbytes(values['height'] * values['step']))
    return Case({}, {'message': values})


def check_image(case: Case, folder: Path) -> None:
    message = as_message(case.truth['message'])
    image = read_image(message, max_image_pixels=MAX_PIXELS)
    if image.pixels.dtype != np.uint8:
        raise Wrong(f'pixels: of type {image.pixels.dtype}')
    shape = (message.height, message.width, *(() if image.order == 'mono' else (3,)))
    if image.pixels.shape != shape:
        raise Wrong(f'shape: {image.pixels.shape}, expected {shape}')
    if message.height * message.width > 10_000:
        return
    rgb = image.pixels[..., None].repeat(3, 2) if image.order == 'mono' else image.pixels
    rgb = rgb[..., ::-1] if image.order == 'bgr' else rgb
    places = list(product(range(message.height), range(message.width)))
    for y, x in Random(0).sample(places, min(len(places), 40)):
        expected = slow_pixel(message, y, x)
        for got, want in zip(rgb[y, x].tolist(), expected, strict=True):
            limit = YUV_TOLERANCE if message.encoding.startswith(('nv', 'yu', 'uy')) else 0
            if want is not None and abs(got - want) > limit:
                raise Wrong(
                    f'pixel: {message.encoding} at ({y}, {x}) is {rgb[y, x]}, expected {expected}'
                )


def slow_pixel(message: Any, y: int, x: int) -> list[int | None]:
    """Return red, green and blue of a pixel by the encoding's definition; None where it is
    interpolated."""
    encoding, data, step, height = message.encoding, message.data, message.step, message.height
    if encoding in ('nv12', 'nv21', 'nv24'):
        if len(data) != step * layout(encoding, height, message.width)[1]:
            step = message.width  # the bytes of all planes are given as step
        luma = data[y * step + x]
        if encoding == 'nv24':
            # Rows of chroma have twice the bytes of a row of luma, and follow without a gap.
            pair = (2 * (y * message.width + x) + i for i in (0, 1))
            places = ((height + i // message.width) * step + i % message.width for i in pair)
            return yuv_to_rgb(luma, *(data[place] for place in places))
        place = (height + y // 2) * step + x // 2 * 2
        pair = data[place], data[place + 1]
        return yuv_to_rgb(luma, *(pair if encoding == 'nv12' else pair[::-1]))
    if encoding in ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'):
        four = data[y * step + x // 2 * 4 :][:4]
        if encoding in ('yuv422', 'uyvy'):
            return yuv_to_rgb(four[1 + 2 * (x % 2)], four[0], four[2])
        return yuv_to_rgb(four[2 * (x % 2)], four[1], four[3])
    size = 2 if '16' in encoding else 1
    high = 0 if message.is_bigendian or size == 1 else 1
    if encoding.startswith('bayer_'):
        color = encoding[6:10][2 * (y % 2) + x % 2]
        border = y in (0, height - 1) or x in (0, message.width - 1)
        known = None if border else data[y * step + x * size + high]
        return [known if color == name else None for name in 'rgb']
    order = encoding.rstrip('0123456789') if encoding[0].isalpha() else ''
    order = order or {'1': 'mono', '3': 'bgr', '4': 'bgra'}[encoding[-1]]
    if order == 'mono':
        return [data[y * step + x * size + high]] * 3
    start = y * step + x * len(order) * size
    return [data[start + order.index(name) * size + high] for name in 'rgb']


def yuv_to_rgb(y: int, u: int, v: int) -> list[int | None]:
    """Return RGB of the video range of BT.601."""
    luma, u, v = 1.164 * max(0, y - 16), u - 128, v - 128
    values = luma + 1.596 * v, luma - 0.391 * u - 0.813 * v, luma + 2.018 * u
    return [min(255, max(0, round(value))) for value in values]


# Compressed images -----------------------------------------------------------------------------

FORMATS = (
    *('jpeg', 'png', 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed bgr8', 'mono8; jpeg'),
    *('bayer_rggb8; png compressed', 'bayer_gbrg16; png compressed', 'mono16; png compressed'),
    *('16UC1; compressedDepth', '32FC1; compressedDepth png', '16UC1; png compressed', 'tiff', ''),
)


def picture(rng: Random) -> np.ndarray:
    """Return (H, W, 3) or (H, W) of smooth colours and noise, so that each byte matters."""
    height, width = (rng.choice((1, 8, 9, 16, 17, 40, 64)) for _ in range(2))
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x / rng.uniform(2, 9) + rng.random()) * np.cos(y / rng.uniform(2, 9)) for _ in 'rgb'
    ]
    pixels = np.clip(127 + 100 * np.stack(waves, 2), 0, 255).astype(np.uint8)
    noise = np.frombuffer(rng.randbytes(pixels.size), np.uint8).reshape(pixels.shape) >> 4
    pixels = np.clip(pixels.astype(int) + noise, 0, 255).astype(np.uint8)
    return pixels[..., 0] if rng.random() < 0.2 else pixels


def encode(rng: Random, pixels: np.ndarray) -> tuple[str, bytes]:
    """Return the kind and the bytes of an encoded image."""
    kind = rng.choice(('jpeg', 'jpeg', 'png', 'png', 'webp', 'tiff', 'bmp', 'png16', 'pil'))
    flags: list[int] = []
    if kind == 'jpeg':
        flags = [cv2.IMWRITE_JPEG_QUALITY, rng.choice((10, 50, 90, 100))]
        flags += rng.choice(
            ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])
        )
    elif kind == 'webp':
        flags = [cv2.IMWRITE_WEBP_QUALITY, rng.choice((50, 101))]
    elif kind == 'png16':
        kind, pixels = 'png', pixels.astype(np.uint16) * 257
    elif kind == 'pil':  # kinds of PNG and TIFF that OpenCV does not write
        out = io.BytesIO()
        image = Image.fromarray(pixels).convert(rng.choice(('P', 'L', '1', 'RGBA')))
        kind = rng.choice(('png', 'tiff'))
        image.save(out, kind)
        return kind, out.getvalue()
    return kind, cv2.imencode(f'.{kind}', pixels, flags)[1].tobytes()


def make_compressed(rng: Random) -> Case:
    kind, data = encode(rng, picture(rng))
    values = {'format': kind, 'data': ''}
    truth: dict[str, Any] = {'message': values, 'original': stored(data)}
    changed, chance = data, rng.random()
    if chance < 0.15:
        truth['intact'] = True
    elif chance < 0.3:
        changed = mutate.cut(rng, data)
        if rng.random() < 0.5:  # the end marker is there, the middle is not
            changed += data[-rng.choice((2, 12)) :]
    elif chance < 0.4:
        changed = data + rng.choice((bytes(64), rng.randbytes(64), data))
    else:
        changed = mutate.some_bytes(rng, data)
        if data.startswith(b'\x89PNG') and rng.random() < 0.5:
            changed = with_checksums(changed)
    if rng.random() < 0.15:
        values['format'] = rng.choice((*FORMATS, *mutate.TEXTS))
        truth.pop('intact', None)
    values['data'] = stored(changed)
    return Case({}, truth)


def with_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks have right checksums, as an attacker or a bad encoder writes."""
    out, place = png[:8], 8
    while place + 12 <= len(png):
        (size,) = struct.unpack_from('>I', png, place)
        body = png[place + 4 : place + 8 + size]
        out += struct.pack('>I', size) + body + struct.pack('>I', zlib.crc32(body))
        place += 12 + size
    return out


def check_compressed(case: Case, folder: Path) -> None:
    message = as_message(case.truth['message'])
    encoding_of(message)
    image = read_compressed_image(message, MAX_PIXELS)
    if 'compressedDepth' in message.format:
        raise Wrong('depth: a depth image was read as colours')
    if image.pixels.dtype != np.uint8 or image.pixels.ndim != 3:
        raise Wrong(f'pixels: {image.pixels.dtype} {image.pixels.shape}')
    if 'bayer' in message.format:
        return
    rgb = image.pixels[..., ::-1] if image.order == 'bgr' else image.pixels
    original = cv2.imdecode(
        np.frombuffer(base64.b64decode(case.truth['original']), np.uint8),
        cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    )[..., ::-1]
    if np.array_equal(rgb, original):
        return
    try:
        reference = pillow_pixels(message.data)
    except Exception as error:
        # TIFF and BMP have no checksums: that they are complete is all that can be asked.
        is_cut = base64.b64decode(case.truth['original']).startswith(message.data)
        if kind_of(message.data) in ('tiff', 'bmp') and not is_cut:
            return
        raise Wrong(
            f'{kind_of(message.data)} accepted: Pillow refuses it ({error}), and the pixels are '
            'not those of the original'
        ) from None
    if reference is not None and not same(rgb, reference):
        raise Wrong(f'{kind_of(message.data)} pixels: other than those that Pillow reads')


def kind_of(data: bytes) -> str:
    kinds = {b'\xff\xd8': 'jpeg', b'\x89P': 'png', b'RI': 'webp', b'BM': 'bmp'}
    return kinds.get(data[:2], 'tiff')


def pillow_pixels(data: bytes) -> np.ndarray | None:
    """Return RGB by Pillow, which is strict; None for kinds that it converts in another way."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if image.mode not in ('L', 'RGB', 'P', '1') or 'transparency' in image.info:
            return None
        if image.format == 'PNG' and image.text:
            return None
        return np.array(image.convert('RGB'))


def same(ours: np.ndarray, other: np.ndarray) -> bool:
    """Return whether images agree, up to the rounding of decoders."""
    if ours.shape != other.shape:
        return False
    return math.sqrt(((ours.astype(float) - other) ** 2).mean()) < 4


TARGETS = (
    Target('image', make_image, check_image, (ValueError,)),
    Target('compressed_image', make_compressed, check_compressed, (ValueError,)),
)
