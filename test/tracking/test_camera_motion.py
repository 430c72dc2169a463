# SPDX-License-Identifier: Apache-2.0
"""The camera's motion on textures that move in a known way."""

import cv2
import numpy as np
import pytest
from disc_frames import Disc, make_frame

from panoptic_ros.core.image import CameraImage
from panoptic_ros.tracking import Tracker, TrackerConfig
from panoptic_ros.tracking.camera_motion import (
    CameraMotion,
    measure_motion,
    scaled,
    small_grey,
    stuff_mask,
    warped,
)

SIZE = (240, 400)


def texture(size=SIZE, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, size).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def similarity(angle, scale, x, y):
    """Return a motion about the image's centre: degrees, factor, px."""
    matrix = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), angle, scale)
    matrix[:, 2] += x, y
    return np.vstack([matrix, [0, 0, 1]])


def moved(image, motion):
    return cv2.warpPerspective(image, motion, image.shape[::-1], borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(
    'motion',
    [
        similarity(0, 1, 0, 0),  # a camera that stands still
        similarity(0, 1, 23.5, -9),  # a turn
        similarity(4, 1, 3, 2),  # roll
        similarity(-2, 1.06, -12, 4),  # forward, with a turn and roll
    ],
)
def test_a_known_motion_is_measured(motion):
    old = texture()
    got = measure_motion(old, moved(old, motion), np.full(SIZE, 255, np.uint8))
    corners = np.array([[0, 0], [399, 0], [0, 239], [399, 239]], float)
    errors = cv2.perspectiveTransform(corners[None], got) - cv2.perspectiveTransform(
        corners[None], motion
    )
    assert np.abs(errors).max() < 0.7


def test_things_that_move_otherwise_do_not_count():
    old, motion = texture(), similarity(0, 1, 8, 0)
    new = moved(old, motion)
    mask = np.full(SIZE, 255, np.uint8)
    mask[40:220, 60:340] = 0  # more than half of the image is a thing
    new[40:220, 60:340] = moved(old, similarity(0, 1, -10, 6))[40:220, 60:340]
    assert np.abs(measure_motion(old, new, mask) - motion).max() < 0.5


@pytest.mark.parametrize('new', [np.full(SIZE, 90, np.uint8), texture(seed=1)])
def test_images_without_a_common_motion_have_none(new):
    assert measure_motion(texture(), new, np.full(SIZE, 255, np.uint8)) is None
    assert measure_motion(np.full(SIZE, 90, np.uint8), new, np.full(SIZE, 255, np.uint8)) is None
    assert measure_motion(texture(), texture(), np.zeros(SIZE, np.uint8)) is None


def test_a_motion_in_other_pixels_moves_the_same_points():
    motion, scale = similarity(5, 1.1, 7, -3), np.array([2.5, 4.0])
    point = np.array([30.0, 50.0])
    x, y, w = motion @ [*point, 1]
    x2, y2, w2 = scaled(motion, scale) @ [*(point * scale), 1]
    np.testing.assert_allclose([x2 / w2, y2 / w2], np.array([x / w, y / w]) * scale)


def test_boxes_move_as_their_corners_do_without_rotation():
    boxes = np.array([[100.0, 60, 40, 20], [0, 0, 8, 8]])
    motion = similarity(0, 1.2, 5, -4)
    half = boxes[:, 2:] / 2
    low, high = (
        cv2.perspectiveTransform((boxes[:, :2] + sign * half)[None], motion)[0] for sign in (-1, 1)
    )
    expected = np.concatenate([(low + high) / 2, high - low], axis=1)
    np.testing.assert_allclose(warped(boxes, motion), expected)


def test_large_images_are_shrunk_and_colours_become_grey():
    pixels = np.zeros((720, 1280, 3), np.uint8)
    pixels[..., 0] = 200
    grey = small_grey(CameraImage(pixels, 'rgb'))
    assert grey.shape == (288, 512) and abs(int(grey[0, 0]) - 60) <= 1
    assert abs(int(small_grey(CameraImage(pixels, 'bgr'))[0, 0]) - 23) <= 1


def test_only_stuff_counts_without_a_margin_of_a_cell():
    road = Disc(100, 50, 300, is_thing=False)
    mask = stuff_mask(make_frame(0.0, road, Disc(50, radius=10)), (100, 200))
    assert mask[50, 50] == mask[50, 61] == 0 and mask[50, 62] == 255
    assert not stuff_mask(make_frame(0.0), (100, 200)).any(), 'void is not stuff'


def scene(x, stamp_s):
    """Return the frame and image of two parked cars, seen by a camera turned to x."""
    frame = make_frame(
        stamp_s,
        Disc(100, 50, 900, is_thing=False),
        Disc(90 + x, 120, 8),
        Disc(120 + x, 120, 8),
        size=SIZE,
        embedding_dim=0,
    )
    return frame, CameraImage(moved(texture(), similarity(0, 1, x, 0)), 'mono')


@pytest.mark.parametrize(('camera_motion', 'same'), [(True, True), (False, False)])
def test_ids_survive_a_jerk_of_the_camera_by_the_distance_of_things(camera_motion, same):
    tracker = Tracker(TrackerConfig(min_hits=1, camera_motion=camera_motion))
    ids = [
        tracker.update(*scene(x, t / 10)).segments['track_id'][1:].tolist()
        for t, x in enumerate([0, 0, 30, 30, 5])
    ]
    assert (ids == [ids[0]] * 5) is same


def test_the_first_image_one_of_another_size_and_one_after_a_gap_have_no_motion():
    camera, (frame, image) = CameraMotion(), scene(0, 0.0)
    assert camera.update(frame, image) is None
    assert np.abs(camera.update(frame, image) - np.eye(3)).max() < 0.01
    assert camera.update(frame, CameraImage(image.pixels[::2, ::2], 'mono')) is None
    assert camera.update(frame, None) is None
    assert camera.update(frame, image) is None
    camera.clear()
    assert camera.update(frame, image) is None
