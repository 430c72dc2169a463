# SPDX-License-Identifier: Apache-2.0
"""Camera models against OpenCV's own projections, image regions, binning and refusals."""

import cv2
import numpy as np
import pytest
from camera_infos import PINHOLE, camera_info

from panoptic_ros.spatial.camera_model import CameraModel, is_rectified, read_camera_info

PLUMB_BOB = (-0.28, 0.09, 0.001, -0.0008, -0.012)
RATIONAL = (0.41, -0.62, 0.0004, -0.0002, 0.31, 0.52, -0.51, 0.22)
PRISM = (*RATIONAL, 0.001, -0.0004, 0.0007, 0.0002)
FISHEYE = (0.05, -0.01, 0.002, -0.0003)
LENSES = [
    ('plumb_bob', ()),
    ('plumb_bob', PLUMB_BOB[:4]),
    ('plumb_bob', PLUMB_BOB),
    ('rational_polynomial', RATIONAL),
    ('rational_polynomial', (*PRISM, 0.0, 0.0)),  # OpenCV's 14, without tilt
    ('equidistant', FISHEYE),
    ('fisheye', FISHEYE),
]


def make(rectified=False, **changes):
    return CameraModel(read_camera_info(camera_info(**changes), rectified))


def opencv_pixels(points, model, d):
    """The pixels (N, 2) of points (N, 3) by OpenCV."""
    matrix = np.array(PINHOLE).reshape(3, 3)
    zero = np.zeros(3)
    if model in ('equidistant', 'fisheye'):
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, matrix, np.array(d))[0][:, 0]
    return cv2.projectPoints(points, zero, zero, matrix, np.array(d) if d else None)[0][:, 0]


@pytest.mark.parametrize(('model', 'd'), LENSES)
def test_rays_are_the_directions_that_opencv_projects_onto_each_pixel(model, d):
    rays = make(model=model, d=d).rays
    assert rays.shape == (2, 480, 640) and rays.dtype == np.float32
    v, u = np.mgrid[0:480:7, 0:640:7]
    x, y = rays[:, ::7, ::7].reshape(2, -1).astype(float)
    pixels = opencv_pixels(np.stack([x, y, np.ones_like(x)], axis=1), model, d)
    np.testing.assert_allclose(pixels, np.stack([u, v], axis=-1).reshape(-1, 2), atol=2e-3)


@pytest.mark.parametrize(('model', 'd'), LENSES)
def test_projection_is_opencvs_inside_the_image(model, d):
    rng = np.random.default_rng(0)
    points = rng.uniform((-4, -3, 0.5), (4, 3, 9), (2000, 3))
    camera = make(model=model, d=d)
    ours, theirs = camera.project(points.T).T, opencv_pixels(points, model, d)
    shown = ~np.isnan(ours[:, 0])
    assert 500 < shown.sum() < 2000
    np.testing.assert_allclose(ours[shown], theirs[shown], atol=1e-6)
    slope = np.abs(points[:, :2] / points[:, 2:])
    inside = (theirs >= 0).all(axis=1) & (theirs <= (639, 479)).all(axis=1)
    assert shown[inside & (slope < (0.6, 0.45)).all(axis=1)].all()


@pytest.mark.parametrize(('model', 'd'), LENSES)
def test_beyond_the_image_points_have_the_pixel_of_a_pinhole_camera(model, d):
    points = np.array([[0.1, 0.1, 2], [3, -2, 1], [-9, 0, 1], [0, 0, -1], [np.nan, 0, 1]]).T
    camera = make(model=model, d=d)
    got = camera.project(points, beyond=True)
    np.testing.assert_array_equal(got[:, 0], camera.project(points)[:, 0])
    focal, centre = np.array([[500.0], [510]]), np.array([[319.5], [239.5]])
    np.testing.assert_allclose(got[:, 1:3], focal * points[:2, 1:3] + centre)
    assert np.isnan(got[:, 3:]).all()


def test_points_that_the_camera_does_not_see_have_no_pixel():
    camera = make(d=PLUMB_BOB)
    points = np.array([[0, 0, -2.0], [0, 0, 0], [np.nan, 0, 1], [9, 0, 1]]).T
    assert np.isnan(camera.project(points)).all()
    assert camera.project(np.array([[0.0], [0], [1]])).T.round(6).tolist() == [[319.5, 239.5]]


def test_a_point_beyond_the_fold_of_the_polynomial_is_not_brought_back():
    d = (-0.3, 0.0, 0.0, 0.0, 0.0)
    point = np.array([[1.7, 0.0, 1.0]])  # 1.7 (1 - 0.3 * 1.7^2) = 0.226
    assert 0 < opencv_pixels(point, 'plumb_bob', d)[0, 0] < 640
    assert np.isnan(make(d=d).project(point.T)).all()


def test_pixels_outside_of_a_lens_have_no_ray():
    """With k1 = -0.3 no direction is imaged beyond 0.703 at z = 1; at 200 px that is 141 px."""
    k = (200.0, 0, 319.5, 0, 200, 239.5, 0, 0, 1)
    rays = make(k=k, d=(-0.3, 0, 0, 0, 0)).rays
    v, u = np.mgrid[:480, :640]
    radius = np.hypot(u - 319.5, v - 239.5)
    assert np.isnan(rays[:, radius > 160]).all()
    assert np.isfinite(rays[:, radius < 110]).all()  # some px less, by the interpolation


def test_region_and_binning_take_pixels_of_the_full_image():
    full = make(d=PLUMB_BOB).rays
    region = make(d=PLUMB_BOB, roi=(100, 60, 200, 320))
    assert region.size == (200, 320)
    np.testing.assert_allclose(region.rays, full[:, 100:300, 60:380], atol=5e-5)
    binned = make(d=PLUMB_BOB, binning=(2, 4))
    assert binned.size == (240, 160)
    np.testing.assert_allclose(binned.rays, full[:, ::2, ::4], atol=5e-5)
    both = make(d=PLUMB_BOB, roi=(100, 60, 200, 320), binning=(2, 2))
    np.testing.assert_allclose(both.rays, full[:, 100:300:2, 60:380:2], atol=5e-5)


def test_a_rectified_image_has_the_matrix_p_and_no_distortion():
    p = (400.0, 0, 310, -40, 0, 420, 250, 0, 0, 0, 1, 0)
    camera = make(rectified=True, d=PLUMB_BOB, p=p)
    assert camera.origin.tolist() == [0.1, 0, 0]  # the second camera of a pair
    for u, v, z in ((0, 0, 2.0), (500, 300, 3.0)):
        point = camera.origin + z * np.append(camera.rays[:, v, u], 1)
        seen = np.array(p).reshape(3, 4) @ np.append(point, 1)
        np.testing.assert_allclose(seen[:2] / seen[2], (u, v), atol=1e-3)
        np.testing.assert_allclose(camera.project(point[:, None])[:, 0], (u, v), atol=1e-3)


@pytest.mark.parametrize(
    ('topic', 'expected'),
    [
        ('/camera/image_raw', False),
        ('/camera/image_rect', True),
        ('/left/image_rect_color', True),
        ('/zed/zed_node/rgb/color/rect/image', True),
        ('/camera/rectified/image', True),
        ('/direct_camera/image', False),
        ('/image', False),
    ],
)
def test_the_topic_tells_whether_images_are_rectified(topic, expected):
    assert is_rectified(topic) is expected


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'k': (0.0,) * 9}, 'no focal length; calibrate'),
        ({'k': (np.nan, *PINHOLE[1:])}, 'k must hold finite'),
        ({'k': PINHOLE[:8]}, 'k has 8 numbers'),
        ({'rectified': True}, 'p has no focal length'),
        ({'size': (0, 0)}, 'size of the image, got 0 x 0'),
        ({'d': (0.1, np.inf, 0, 0, 0)}, 'd must hold finite'),
        ({'d': (0.1,), 'model': 'omnidirectional'}, "got 'omnidirectional'; use rectified"),
        ({'d': (0.1,) * 14, 'model': 'rational_polynomial'}, 'at most 12 numbers, got 14'),
        ({'d': (0.1,) * 5, 'model': 'equidistant'}, 'at most 4 numbers, got 5'),
    ],
)
def test_a_useless_calibration_is_refused(changes, words):
    with pytest.raises(ValueError, match=words) as error:
        make(**changes)
    assert '\n' not in str(error.value)


def test_a_calibration_without_distortion_needs_no_known_model():
    assert np.isfinite(make(d=(0.0,) * 5, model='').rays).all()
