# SPDX-License-Identifier: Apache-2.0
"""Depth images of every layout, and those that are refused."""

import struct
from types import SimpleNamespace as Message

import cv2
import numpy as np
import pytest
from camera_infos import depth_image

from panoptic_ros.spatial.depth import read_depth

METRES = np.array([[0.5, 1.25, np.nan], [9.0, np.nan, 65.535]], np.float32)
EVERYWHERE = np.s_[:, :]


def compressed(values, format_='16UC1; compressedDepth png', a=0.0, b=0.0, config=True):
    png = cv2.imencode('.png', np.asarray(values))[1].tobytes()
    return Message(format=format_, data=(struct.pack('<iff', 0, a, b) if config else b'') + png)


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('encoding', ['16UC1', 'mono16', '32FC1'])
def test_raw_images_give_metres(encoding, big, padding):
    units = METRES if encoding == '32FC1' else np.nan_to_num(METRES) * 1000
    depth = read_depth(depth_image(units, encoding, big, padding))
    np.testing.assert_allclose(depth.metres(EVERYWHERE), METRES, rtol=1e-6)
    rows, cols = np.array([0, 1, 1]), np.array([1, 0, 1])
    np.testing.assert_allclose(depth.metres((rows, cols)), METRES[rows, cols], rtol=1e-6)


def test_numbers_that_are_no_depth_become_nan():
    values = [[0, -1.0, np.inf, -np.inf, np.nan, 2]]
    depth = read_depth(depth_image(values, '32FC1')).metres(EVERYWHERE)
    np.testing.assert_array_equal(depth, [[np.nan] * 5 + [2]])


@pytest.mark.parametrize('format_', ['16UC1; compressedDepth png', '16UC1; compressedDepth'])
def test_compressed_millimetres(format_):
    units = (np.nan_to_num(METRES) * 1000).round().astype(np.uint16)
    depth = read_depth(compressed(units, format_))
    np.testing.assert_allclose(depth.metres(EVERYWHERE), METRES, rtol=1e-6)


def test_compressed_floats_are_quantised_inversely():
    """As compressed_depth_image_transport encodes them: q = A / depth + B."""
    quantised = [round(100 / 9 * 101 / z + 3) if z > 0 else 0 for z in METRES.ravel().tolist()]
    message = compressed(
        np.array(quantised, np.uint16).reshape(2, 3),
        '32FC1; compressedDepth png',
        100 / 9 * 101,
        3,
    )
    depth = read_depth(message).metres(EVERYWHERE)
    np.testing.assert_array_equal(np.isnan(depth), np.isnan(METRES))
    np.testing.assert_allclose(depth[0, :2], METRES[0, :2], rtol=1e-3)
    assert depth[1, 2] == pytest.approx(65.5, abs=2)


def test_an_image_of_the_same_aspect_is_scaled_by_nearest_pixel():
    values = np.arange(1, 13).reshape(3, 4)
    depth = read_depth(depth_image(values, '16UC1'))
    scaled = depth.fitted((6, 8)).values
    for row in range(6):
        for col in range(8):
            assert scaled[row, col] == values[row // 2, col // 2]
    assert depth.fitted((3, 4)) is depth
    large = np.arange(6 * 8).reshape(6, 8)
    small = read_depth(depth_image(large, '16UC1')).fitted((3, 4)).values
    np.testing.assert_array_equal(small, large[1::2, 1::2])


def test_an_image_of_another_aspect_is_not_registered():
    depth = read_depth(depth_image(np.ones((3, 4)), '16UC1'))
    with pytest.raises(ValueError, match=r'\(4 x 3\) .* \(16 x 9\) shows; register it'):
        depth.fitted((9, 16))


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (Message(encoding='rgb8'), "16UC1, mono16, 32FC1, got 'rgb8'; is `depth` remapped"),
        (
            Message(encoding='16UC1', height=0, width=4, step=8, data=b'', is_bigendian=0),
            'must have 1 to 1000 pixels, got 4 x 0',
        ),
        (
            Message(encoding='16UC1', height=99, width=99, step=198, data=b'', is_bigendian=0),
            'got 99 x 99',
        ),
        (
            Message(encoding='32FC1', height=2, width=2, step=4, data=bytes(8), is_bigendian=0),
            'rows of at least 8 bytes, got 8 bytes with step 4',
        ),
        (
            Message(encoding='16UC1', height=2, width=2, step=4, data=bytes(9), is_bigendian=0),
            'got 9 bytes with step 4',
        ),
        (compressed(np.ones((2, 2), np.uint16), '16UC1; png compressed'), 'got format'),
        (compressed(np.ones((2, 2), np.uint16), '16UC1; compressedDepth rvl'), 'publisher to png'),
        (compressed(np.ones((2, 2), np.uint16), '8UC3; compressedDepth png'), "got '8UC3'"),
        (compressed(np.ones((2, 2), np.uint8)), 'png of 16-bit grey'),
        (compressed(np.ones((40, 40), np.uint16)), 'png image is too large'),
        (compressed(np.ones((2, 2), np.uint16), config=False), 'expected jpeg, png'),
        (Message(format='16UC1; compressedDepth png', data=bytes(12)), 'more than 12 bytes'),
        (
            Message(
                format='16UC1; compressedDepth png',
                data=compressed(np.ones((9, 9), np.uint16)).data[:60],
            ),
            'cut short',
        ),
    ],
)
def test_bad_images_are_refused(message, words):
    with pytest.raises(ValueError, match=words) as error:
        read_depth(message, max_pixels=1000)
    assert '\n' not in str(error.value)
