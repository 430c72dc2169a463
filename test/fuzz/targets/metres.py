# SPDX-License-Identifier: Apache-2.0
"""Depth images, calibrations and lidar clouds in messages, against slow readers."""

import base64
import io
import math
import struct
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from PIL import Image

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from fuzz.targets.tables import CODES, make_points
from panoptic_ros.spatial.camera_model import CameraModel, read_camera_info
from panoptic_ros.spatial.depth import read_depth
from panoptic_ros.spatial.lidar import project_cloud, read_cloud

MAX_PIXELS = 100_000
FORMATS = {'16UC1': ('H', 1e-3), 'mono16': ('H', 1e-3), '32FC1': ('f', 1.0)}
MODELS = ('plumb_bob', 'rational_polynomial', 'equidistant', 'fisheye', '', 'other')


def stored(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Depth -----------------------------------------------------------------------------------------


def make_depth(rng: Random) -> Case:
    encoding = rng.choice(tuple(FORMATS))
    height, width = rng.choice((1, 2, 5, 17)), rng.choice((1, 3, 8))
    step = width * struct.calcsize(FORMATS[encoding][0]) + rng.choice((0, 0, 1, 6))
    values: dict[str, Any] = {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': rng.choice((0, 1)),
        'step': step,
    }
    truth = {'message': values, 'data': stored(rng.randbytes(step * height))}
    if rng.random() < 0.3:
        return Case({}, truth | {'intact': True})
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(tuple(values))
        if name == 'encoding':
            values[name] = rng.choice((*FORMATS, '8UC1', '64FC1', *mutate.TEXTS))
        else:
            old = values[name]
            values[name] = rng.choice((old + 1, old - 1, old * 2, *mutate.NUMBERS)) % 2**32
    if rng.random() < 0.5 and values['height'] * values['step'] < 100_000:
        truth['data'] = stored(rng.randbytes(values['height'] * values['step']))
    return Case({}, truth)


def check_depth(case: Case, folder: Path) -> None:
    message = SimpleNamespace(**case.truth['message'])
    message.data = base64.b64decode(case.truth['data'])
    depth = read_depth(message, MAX_PIXELS)
    code, unit = FORMATS[message.encoding]
    form, size = ('>' if message.is_bigendian else '<') + code, struct.calcsize(code)
    metres = depth.metres(np.s_[:, :])
    if metres.shape != (message.height, message.width):
        raise Wrong(f'shape: {metres.shape}')
    for row in range(min(message.height, 9)):
        for col in range(min(message.width, 9)):
            (units,) = struct.unpack_from(form, message.data, row * message.step + col * size)
            compare(float(metres[row, col]), units * unit)


def compare(got: float, want: float) -> None:
    """Compare a depth; numbers that are no depth become NaN."""
    if not 0 < want < np.finfo(np.float32).max:
        want = math.nan
    if not (math.isnan(got) and math.isnan(want)) and not math.isclose(
        got, want, rel_tol=1e-5, abs_tol=1e-30
    ):
        raise Wrong(f'depth: {got}, expected {want}')


def make_compressed_depth(rng: Random) -> Case:
    values = np.frombuffer(rng.randbytes(2 * 7 * 5), np.uint16).reshape(7, 5)
    png = cv2.imencode('.png', values)[1].tobytes()
    encoding = rng.choice(('16UC1', '32FC1'))
    config = struct.pack('<iff', 0, rng.uniform(1, 1000), rng.uniform(-3, 3))
    truth = {
        'format': f'{encoding}; compressedDepth{rng.choice(("", " png"))}',
        'data': stored(config + png),
    }
    if rng.random() < 0.3:
        return Case({}, truth | {'intact': True})
    if rng.random() < 0.2:
        truth['format'] = rng.choice(('16UC1; compressedDepth rvl', '16UC1; png', *mutate.TEXTS))
    else:
        changed = mutate.some_bytes(rng, config + png)
        truth['data'] = stored(changed if rng.random() < 0.7 else mutate.cut(rng, config + png))
    return Case({}, truth)


def check_compressed_depth(case: Case, folder: Path) -> None:
    data = base64.b64decode(case.truth['data'])
    message = SimpleNamespace(format=case.truth['format'], data=data)
    depth = read_depth(message, MAX_PIXELS)
    with Image.open(io.BytesIO(data[12:])) as image:  # which refuses what is damaged
        units = np.array(image).astype(float)
    _, a, b = struct.unpack_from('<iff', data)
    metres = depth.metres(np.s_[:, :])
    if metres.shape != units.shape:
        raise Wrong(f'shape: {metres.shape}, expected {units.shape}')
    if not message.format.startswith('32FC1'):
        for got, want in zip(metres.ravel().tolist(), units.ravel().tolist(), strict=True):
            compare(got, want * 1e-3)
    elif all(map(math.isfinite, (a, b))) and not np.isnan(metres[units == 0]).all():
        raise Wrong('depth: 0 is no depth')


# Calibrations ----------------------------------------------------------------------------------


def make_camera_info(rng: Random) -> Case:
    height, width, focal = rng.randrange(1, 60), rng.randrange(1, 80), rng.uniform(5, 100)
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    model = rng.choice(MODELS[:4])
    count = rng.choice({'plumb_bob': (0, 4, 5), 'rational_polynomial': (8,)}.get(model, (4,)))
    values: dict[str, Any] = {
        'height': height,
        'width': width,
        'distortion_model': model,
        'd': [rng.uniform(-0.2, 0.2) for _ in range(count)],
        'k': k,
        'p': [*k[:3], rng.uniform(-5, 5), *k[3:6], 0.0, *k[6:], 0.0],
        'binning_x': rng.choice((0, 1)),
        'binning_y': rng.choice((0, 1)),
        'roi': [0, 0, 0, 0],
    }
    truth = {'message': values, 'rectified': rng.random() < 0.3}
    if rng.random() < 0.3:
        return Case({}, truth | {'intact': True})
    for _ in range(rng.choice((1, 1, 2, 4))):
        name = rng.choice(tuple(values))
        if name == 'distortion_model':
            values[name] = rng.choice((*MODELS, *mutate.TEXTS))
        elif name == 'roi':
            values[name] = [rng.choice((0, 1, 20, 2**32 - 1)) for _ in range(4)]
        elif name in ('d', 'k', 'p'):
            numbers = values[name]
            if numbers and rng.random() < 0.8:
                near = (0.0, -1.0, 1e-300, 1e300, math.inf, math.nan, 5.0, -numbers[0])
                numbers[rng.randrange(len(numbers))] = rng.choice(near)
            else:
                numbers[len(numbers) :] = [rng.uniform(-1, 1)] * rng.choice((1, 3, 9))
        else:
            values[name] = rng.choice((0, 1, 2, 7, *mutate.NUMBERS)) % 2**32
    return Case({}, truth)


def check_camera_info(case: Case, folder: Path) -> None:
    message = SimpleNamespace(**case.truth['message'])
    top, left, height, width = message.roi
    message.roi = SimpleNamespace(y_offset=top, x_offset=left, height=height, width=width)
    camera = CameraModel(read_camera_info(message, case.truth['rectified']))
    if camera.size[0] * camera.size[1] > MAX_PIXELS:
        return
    if camera.rays.shape != (2, *camera.size):
        raise Wrong(f'shape: {camera.rays.shape}')
    rows, cols = (np.arange(0, n, 8) for n in camera.size)
    pixels = np.stack(np.meshgrid(cols, rows)).reshape(2, -1).astype(float)
    rays = camera.ray_of(pixels)
    near = np.flatnonzero((np.abs(rays) < 10).all(axis=0))
    points = camera.origin[:, None] + 2 * np.vstack([rays[:, near], np.ones(len(near))])
    back = camera.project(points)
    # A ray whose pixel is at the edge may fall beside the image.
    known = np.isfinite(back).all(axis=0)
    if (
        np.isfinite(points).all()
        and len(near)
        and not np.allclose(
            back[:, known],
            pixels[:, near][:, known],
            atol=1e-3 * max(1, np.abs(camera.origin).max()),
        )
    ):
        raise Wrong('ray: its projection is another pixel')


# Lidar -----------------------------------------------------------------------------------------


def make_lidar(rng: Random) -> Case:
    names, fields, offset = ['x', 'y', 'z', *rng.sample(('ring', 'time', 'rgb'), 2)], [], 0
    for name in names:
        kind = rng.choice((7, 8)) if name in 'xyz' else rng.randrange(1, 9)
        fields.append({'name': name, 'offset': offset, 'datatype': kind, 'count': 1})
        offset += struct.calcsize(CODES[kind]) + rng.choice((0, 0, 4))
    return make_points(rng, fields)


def check_lidar(case: Case, folder: Path) -> None:
    message = SimpleNamespace(**case.truth['message'])
    message.data = base64.b64decode(case.truth['data'])
    message.fields = [SimpleNamespace(**field) for field in message.fields]
    cloud = read_cloud(message)
    k = (50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0)
    info = SimpleNamespace(
        height=48, width=64, distortion_model='plumb_bob', d=[-0.1, 0.01, 0, 0, 0], k=k,
        p=[0.0] * 12, binning_x=0, binning_y=0,
        roi=SimpleNamespace(y_offset=0, x_offset=0, height=0, width=0),
    )  # fmt: skip
    seen = project_cloud(cloud, CameraModel(read_camera_info(info, False)), np.eye(4))
    by_name = {field.name: field for field in message.fields}
    row_step = message.row_step or message.width * message.point_step
    for index in range(min(cloud.xyz.shape[1], 20)):
        start = index // message.width * row_step + index % message.width * message.point_step
        order = '>' if message.is_bigendian else '<'
        x, y, z = (
            struct.unpack_from(order + CODES[f.datatype], message.data, start + f.offset)[0]
            for f in (by_name[name] for name in 'xyz')
        )
        if not np.array_equal(cloud.xyz[:, index], [x, y, z], equal_nan=True):
            raise Wrong(f'point: {cloud.xyz[:, index]}, expected {x, y, z}')
        if index in seen.seen and not (z > 0 and abs(x / z) < 1.2 and abs(y / z) < 1.2):
            raise Wrong(f'point: {x, y, z} is not in the image')


TARGETS = (
    Target('depth', make_depth, check_depth, (ValueError,)),
    Target('compressed_depth', make_compressed_depth, check_compressed_depth, (ValueError,)),
    Target('camera_info', make_camera_info, check_camera_info, (ValueError,)),
    Target('lidar', make_lidar, check_lidar, (ValueError,)),
)
