# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from tiny_model import LABELS

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.overlay import ALPHA, draw_overlay, track_color

GEOMETRY = Geometry((160, 320), (80, 160), 4)


def frame(track_id: int = 5) -> PanopticFrame:
    """Floor in the lower half, a ball in the upper left, void elsewhere."""
    segment_map = np.zeros(GEOMETRY.map_size, np.uint16)
    segment_map[10:] = 1
    segment_map[2:8, 4:12] = 2
    rows = np.zeros(2, segment_dtype(1))
    rows['segment_id'], rows['class_id'], rows['is_thing'] = [1, 2], [0, 2], [0, 1]
    rows['track_id'] = [0, track_id]
    rows['bbox_x'][1], rows['bbox_y'][1] = 4 * 8, 2 * 8
    rows['bbox_w'][1], rows['bbox_h'][1] = 8 * 8, 6 * 8
    return PanopticFrame(segment_map, rows, GEOMETRY, 0.0)


def picture(order: str) -> CameraImage:
    rgb = np.full((160, 320, 3), (90, 120, 150), np.uint8)
    if order == 'mono':
        return CameraImage(rgb[..., 1].copy(), 'mono')
    return CameraImage(rgb if order == 'rgb' else np.ascontiguousarray(rgb[..., ::-1]), order)


@pytest.mark.parametrize(
    ('order', 'background'),
    [('rgb', (90, 120, 150)), ('bgr', (90, 120, 150)), ('mono', (120, 120, 120))],
)
def test_segments_are_tinted_and_void_keeps_the_picture(order, background):
    image = picture(order)
    before = image.pixels.copy()
    overlay = draw_overlay(image, frame(), LABELS)
    assert overlay.shape == (160, 320, 3)
    np.testing.assert_array_equal(overlay[30, 250], background)  # void
    for (y, x), class_id in {(120, 200): 0, (40, 64): 2}.items():
        expected = (1 - ALPHA) * np.array(background) + ALPHA * LABELS.colors[class_id]
        np.testing.assert_allclose(overlay[y, x], expected, atol=1)
    np.testing.assert_array_equal(image.pixels, before)  # the message's own bytes


def test_a_thing_is_outlined_in_its_tracks_colour():
    overlay = draw_overlay(picture('rgb'), frame(track_id=5), LABELS)
    column = overlay[40, 28:52]  # across the left edge, 32 px
    assert (column == track_color(5)).all(axis=-1).any()
    without = draw_overlay(picture('rgb'), frame(track_id=0), LABELS)
    assert (without[40, 28:52] == 255).all(axis=-1).any()


def test_it_paints_into_the_array_given():
    out = np.zeros((160, 320, 3), np.uint8)
    assert draw_overlay(picture('rgb'), frame(), LABELS, out) is out
    np.testing.assert_array_equal(out, draw_overlay(picture('rgb'), frame(), LABELS))


def test_an_empty_frame_is_the_picture():
    empty = PanopticFrame(
        np.zeros(GEOMETRY.map_size, np.uint16), frame().segments[:0], GEOMETRY, 0.0
    )
    np.testing.assert_array_equal(
        draw_overlay(picture('rgb'), empty, LABELS), picture('rgb').pixels
    )


def test_a_coasting_thing_without_pixels_is_not_drawn():
    given = frame()
    given.segments['segment_id'][1] = 9
    given.segment_map[given.segment_map == 2] = 1
    draw_overlay(picture('rgb'), given, LABELS)


def test_tracks_have_different_colours():
    assert len({track_color(number) for number in range(1, 30)}) == 29
