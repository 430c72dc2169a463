# SPDX-License-Identifier: Apache-2.0
"""Scaling of camera images into the network's input."""

import cv2
import numpy as np
import pytest
from tiny_model import tiny_info

from panoptic_ros.core.image import CameraImage, shrink
from panoptic_ros.runtime.letterbox import Letterbox

RED = (255, 0, 0)


@pytest.mark.parametrize(
    ('size', 'content'),
    [
        ((64, 128), (64, 128)),  # as large as the input: no change
        ((720, 1280), (64, 114)),  # 16:9 into 2:1: padding on the right
        ((100, 400), (32, 128)),  # wider than 2:1: padding below
        ((16, 32), (64, 128)),  # smaller: enlarged
        ((1, 1), (64, 64)),  # the smallest image
        ((3000, 2), (64, 1)),  # so thin that its width rounds to 0
    ],
)
def test_content_is_top_left_and_the_rest_has_the_mean_colour(size, content):
    letterbox = Letterbox(tiny_info())
    pixels, geometry = letterbox(CameraImage(np.full((*size, 3), RED, np.uint8)))
    assert geometry.image_size == size
    assert geometry.content_size == content
    assert pixels.shape == (64, 128, 3)
    assert pixels.flags.c_contiguous
    shows = np.zeros((64, 128), bool)
    shows[: content[0], : content[1]] = True
    assert (pixels[shows] == RED).all()
    assert (pixels[~shows] == 102).all()  # round(255 * 0.4)


def test_padding_is_clean_after_a_change_of_size():
    letterbox = Letterbox(tiny_info())
    letterbox(CameraImage(np.full((64, 128, 3), 255, np.uint8)))
    pixels, _ = letterbox(CameraImage(np.full((64, 64, 3), 255, np.uint8)))
    assert (pixels[:, 64:] == 102).all()


@pytest.mark.parametrize(
    ('order', 'value'), [('rgb', (255, 40, 0)), ('bgr', (0, 40, 255)), ('mono', (255,))]
)
def test_every_order_becomes_rgb(order, value):
    image = np.full((720, 1280, len(value)), value, np.uint8)
    image = image[..., 0] if order == 'mono' else image
    pixels, _ = Letterbox(tiny_info())(CameraImage(image, order))
    assert tuple(pixels[10, 10]) == ((255, 255, 255) if order == 'mono' else (255, 40, 0))


def test_padding_of_rows_is_skipped():
    rows = np.zeros((64, 128 * 3 + 32), np.uint8)
    rows[:, 128 * 3 :] = 77  # padding that a driver may leave at the end of a row
    rows[:, : 128 * 3] = np.tile(RED, 128)
    view = rows[:, : 128 * 3].reshape(64, 128, 3)
    padded = np.lib.stride_tricks.as_strided(rows, (64, 128, 3), (rows.strides[0], 3, 1))
    assert (view == padded).all()
    pixels, _ = Letterbox(tiny_info())(CameraImage(padded))
    assert (pixels == RED).all()


def test_the_camera_image_is_not_changed():
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    before = image.copy()
    Letterbox(tiny_info())(CameraImage(image, 'bgr'))
    assert (image == before).all()


@pytest.mark.parametrize(
    'image',
    [
        CameraImage(np.zeros((0, 0, 3), np.uint8)),  # no pixels
        CameraImage(np.zeros((8, 0, 3), np.uint8)),  # no columns
        CameraImage(np.zeros((8, 8), np.uint8)),  # mono, declared as rgb
        CameraImage(np.zeros((8, 8, 4), np.uint8)),  # an alpha channel
        CameraImage(np.zeros((8, 8, 3), np.uint8), 'mono'),  # colour, declared as mono
        CameraImage(np.zeros((8, 8, 3), np.float32)),  # not bytes
        CameraImage(np.zeros((8, 8, 3), np.uint8), 'yuv'),  # an unknown order
        CameraImage(np.zeros(8, np.uint8), 'mono'),  # no picture
    ],
)
def test_bad_images_are_refused(image):
    with pytest.raises(ValueError, match='an image'):
        Letterbox(tiny_info())(image)


@pytest.mark.parametrize('size', [(720, 1280), (1080, 1920), (375, 1242), (711, 1283)])
def test_shrinking_averages_fine_texture_instead_of_sampling_it(size):
    noise = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    small = size[1] // 5, size[0] // 5
    averaged = cv2.resize(noise, small, interpolation=cv2.INTER_AREA).std()
    assert shrink(noise, small[::-1]).std() < 1.5 * averaged
    assert cv2.resize(noise, small).std() > 2 * averaged  # for comparison: one linear step
