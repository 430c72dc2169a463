# SPDX-License-Identifier: Apache-2.0
"""The overlay: colours, outlines, names and legend."""

import itertools

import numpy as np
import pytest
from tiny_model import LABELS

from panoptic_ros.core.captions import style_for
from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.overlay import (
    ALPHA,
    OUTLINE_PER_HEIGHT,
    draw_overlay,
    place_names,
    track_color,
)
from panoptic_ros.recordings.contact_sheet import TILE_WIDTH

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


def one_thing(stride: int, scale: float, track_id: int = 5) -> PanopticFrame:
    """A thing with a hole, a corner and a part at the picture's edge, next to another one."""
    geometry = Geometry((round(96 * scale), round(160 * scale)), (96, 160), stride)
    height, width = geometry.map_size
    segment_map = np.ones((height, width), np.uint16)
    segment_map[height // 4 : height // 2, width // 4 : width // 2] = 2
    segment_map[height // 3, width // 3] = 1  # a hole
    segment_map[height // 2, width // 2] = 2  # touches it at a corner
    segment_map[height // 4 : height // 2, width // 2 :] = 3
    rows = np.zeros(3, segment_dtype(0))
    rows['segment_id'], rows['class_id'], rows['is_thing'] = [1, 2, 3], [0, 2, 2], [0, 1, 1]
    rows['track_id'] = [0, track_id, track_id + 1]
    rows['bbox_y'] = 10**6  # their names are at the bottom
    return PanopticFrame(segment_map, rows, geometry, 0.0)


@pytest.mark.parametrize('scale', [1, 2, 3.3, 8])
@pytest.mark.parametrize('stride', [1, 2, 4, 8])
def test_outlines_follow_the_edges_of_the_cells(stride, scale):
    """A pixel is outlined if a pixel of something else is near: at any stride, without holes."""
    given = one_thing(stride, scale)
    height, width = given.geometry.image_size
    image = CameraImage(np.full((height, width, 3), 90, np.uint8))
    drawn = draw_overlay(image, given, LABELS, legend=False)
    ids = np.pad(given.geometry.to_camera(given.segment_map), 9)  # 0 beyond the picture
    thickness = max(1, round(height / OUTLINE_PER_HEIGHT))
    is_near = np.zeros((height, width), bool)
    for y, x in itertools.product(range(-thickness, thickness + 1), repeat=2):
        is_near |= ids[9 + y : 9 + y + height, 9 + x : 9 + x + width] != ids[9:-9, 9:-9]
    names = height * 3 // 4  # above the names
    for segment_id, track_id in ((2, 5), (3, 6)):
        expected = is_near & (ids[9:-9, 9:-9] == segment_id)
        found = (drawn == track_color(track_id)).all(axis=-1)
        np.testing.assert_array_equal(found[:names], expected[:names])
        assert expected[:names].any() and not expected[names:].any()


def test_a_thing_without_a_track_has_a_white_outline():
    drawn = draw_overlay(picture('rgb'), frame(track_id=0), LABELS)
    assert (drawn[40, 28:52] == 255).all(axis=-1).any()


def test_more_things_than_a_byte_counts_have_their_own_colours():
    rows = np.zeros(400, segment_dtype(0))
    rows['segment_id'] = rows['track_id'] = np.arange(1, 401)
    rows['class_id'], rows['is_thing'] = 2, 1
    geometry = Geometry((160, 160), (20, 20), 1)
    given = PanopticFrame(np.arange(1, 401, dtype=np.uint16).reshape(20, 20), rows, geometry, 0.0)
    drawn = draw_overlay(CameraImage(np.zeros((160, 160, 3), np.uint8)), given, LABELS)
    assert tuple(drawn[17, 8 * 9]) == track_color(50)
    assert tuple(drawn[128, 8 * 15]) == track_color(336)


@pytest.mark.parametrize('size', [(120, 160), (375, 1242), (720, 1280), (2160, 3840), (9, 12)])
def test_names_lie_in_the_picture_and_do_not_overlap(size):
    """Wherever things are; of names in each other's way the largest thing's is drawn."""
    rng = np.random.default_rng(0)
    rows = np.zeros(40, segment_dtype(0))
    rows['is_thing'], rows['class_id'], rows['track_id'] = 1, 2, np.arange(40) * 1000
    rows['bbox_x'] = rng.uniform(-20, size[1] + 20, 40)
    rows['bbox_y'] = rng.uniform(-20, size[0] + 20, 40)
    for name in ('bbox_w', 'bbox_h'):
        rows[name] = rng.uniform(1, 50, 40)
    style = style_for(*size)
    placed = place_names(frame(), rows, LABELS, size, style)
    taken = np.zeros(size, int)
    for _, text, box in placed:
        taken[box.y : box.y + box.height, box.x : box.x + box.width] += 1
        assert min(box[:2]) >= 0
        assert box.x + box.width <= size[1] and box.y + box.height <= size[0]
        assert text.startswith('ball')
    assert taken.max(initial=0) <= 1
    indices = [index for index, _, _ in placed]
    assert indices == sorted(indices) and indices[:1] == ([0] if size[0] > 9 else [])
    alone = [place_names(frame(), rows[i : i + 1], LABELS, size, style) for i in range(40)]
    for index in set(range(40)) - set(indices):
        assert not alone[index] or any(
            alone[index][0][2].overlaps(box) for other, _, box in placed if other < index
        )


def test_a_name_stands_on_a_box_of_its_classs_colour():
    drawn = draw_overlay(picture('rgb'), frame(), LABELS)
    ball = (drawn == LABELS.colors[2]).all(axis=-1)
    assert ball[:16].sum() > 200  # the box; the ball begins at y 16
    assert not ball[:, 100:140].any()


def test_the_legend_shows_the_classes_that_occur():
    drawn = draw_overlay(picture('rgb'), frame(), LABELS)
    bottom = drawn[-style_for(160, 320).line_px :]
    shown = [(bottom == color).all(axis=-1).sum() > 50 for color in LABELS.colors[:4]]
    assert shown == [True, False, True, False]  # floor and ball
    plain = draw_overlay(picture('rgb'), frame(), LABELS, legend=False)
    assert not (plain[-10:] == LABELS.colors[2]).all(axis=-1).any()


def test_a_legend_of_many_classes_leaves_the_picture_free():
    labels = LabelSet(tuple(Label(f'a long name {i}', False, (i, 0, 0), i) for i in range(200)))
    rows = np.zeros(200, segment_dtype(0))
    rows['segment_id'], rows['class_id'] = np.arange(1, 201), np.arange(200)
    segment_map = np.repeat(np.arange(1, 201, dtype=np.uint16), 16).reshape(40, 80)
    segment_map[:20] = 150  # is large, so that the legend has it
    given = PanopticFrame(segment_map, rows, Geometry((160, 320), (160, 320), 4), 0.0)
    drawn = draw_overlay(picture('rgb'), given, labels)
    is_solid = (drawn == labels.colors[149]).all(axis=-1)
    assert is_solid[128:].sum() > 50 and not is_solid[:128].any()


def test_letters_keep_their_size_on_a_contact_sheet():
    for height, width in ((720, 1280), (1080, 1920), (2160, 3840), (375, 1242), (480, 640)):
        scale = TILE_WIDTH / width
        assert style_for(height, width).height_px * scale >= 7.5
    assert style_for(9, 9).height_px == 8


def test_stuff_has_its_name_on_request():
    plain, named = (
        draw_overlay(picture('rgb'), frame(), LABELS, legend=False, stuff_names=flag)
        for flag in (False, True)
    )
    changed = (plain != named).any(axis=-1)
    assert changed[80:].sum() > 100 and not changed[:80].any()


def test_only_contiguous_arrays_are_painted_into():
    with pytest.raises(ValueError, match='C-contiguous'):
        draw_overlay(picture('rgb'), frame(), LABELS, np.zeros((160, 640, 3), np.uint8)[:, ::2])


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


@pytest.mark.parametrize('size', [(300, 1), (300, 3), (1, 1), (1, 500), (20, 20)])
def test_a_picture_without_room_for_a_legend_has_none(size):
    geometry = Geometry(size, (64, 64), 4)
    rows = frame().segments[:1]
    segment_map = np.ones(geometry.map_size, np.uint16)
    given = PanopticFrame(segment_map, rows, geometry, 0.0)
    image = CameraImage(np.zeros((*size, 3), np.uint8))
    tinted = draw_overlay(image, given, LABELS, legend=False)
    assert np.unique(tinted.reshape(-1, 3), axis=0).shape == (1, 3)
    assert np.array_equal(draw_overlay(image, given, LABELS), tinted)
