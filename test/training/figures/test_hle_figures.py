# SPDX-License-Identifier: Apache-2.0
"""HLE's figures: distances from a pixel, and dimensions of the embedding."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from figure_views import IMAGE, INPUT, make_view, sample, shows, small_model

from panoptic_training.figures.embedding_colors import color_limit, dimension_colors
from panoptic_training.figures.figure import Choice, NotDrawnError
from panoptic_training.figures.frames import deepest, largest_thing_pixel, things_only
from panoptic_training.figures.hle import (
    NARROW_WIDTH,
    PANEL_WIDTH,
    class_picture,
    distance_map,
    draw_dimensions,
    draw_distance,
    draw_video,
    embedding_of,
    scaled,
)


@pytest.fixture(scope='module')
def model():
    return small_model('hle', score_threshold=0.0, min_area=0.0, stride=2)


@pytest.fixture(scope='module')
def view(model):
    return make_view(model)


def test_the_distance_is_zero_at_the_pixel_and_equals_a_slow_reference():
    embedding = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=0)
    distance = distance_map(embedding, (2, 3))
    assert distance[2, 3] == pytest.approx(0, abs=1e-6) and distance.min() >= 0
    for y in range(4):
        for x in range(6):
            pairs = zip(embedding[:, y, x].tolist(), embedding[:, 2, 3].tolist(), strict=True)
            expected = 1 - sum(a * b for a, b in pairs)
            assert distance[y, x] == pytest.approx(max(expected, 0), abs=1e-6)


def test_the_embedding_is_that_of_the_image_without_the_padding(model, view):
    embedding = embedding_of(model, view)
    pixels = torch.from_numpy(view.pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        whole = model.maps(pixels, 2).embedding[0].numpy()
    content = round(IMAGE[1] * INPUT[0] / IMAGE[0])
    assert embedding.shape == (12, 32, -(-content // 2))
    np.testing.assert_allclose(embedding, whole[:, :, : embedding.shape[2]], atol=1e-6)


def test_the_figure_shows_small_distances_in_yellow_at_the_chosen_pixel(model, view):
    x, y = 150, 30
    picture = draw_distance(model, [view], Choice((x, y))).astype(int)
    assert picture.shape[1] == 3 * PANEL_WIDTH
    red = np.argwhere(np.abs(picture - (213, 0, 0)).max(axis=-1) < 12)  # of the rings
    for panel in range(3):
        ring = red[red[:, 1] // PANEL_WIDTH == panel].mean(axis=0)
        assert ring[1] % PANEL_WIDTH == pytest.approx(x * PANEL_WIDTH / IMAGE[1], abs=2)
    # Inside the ring the map is seen, yellow for a distance of 0.
    center = picture[round(ring[0]), round(ring[1])]
    assert min(center[:2]) > center[2] + 60


def test_a_pixel_outside_the_image_is_refused(model, view):
    with pytest.raises(ValueError, match='the image street has 176x96 pixels, got pixel 176,0'):
        draw_distance(model, [view], Choice((176, 0)))


def test_the_default_pixel_is_deep_inside_the_largest_thing(view):
    frame = view.frame
    things = frame.segments[frame.segments['is_thing'] == 1]
    assert len(things) > 1, 'else the test says nothing'
    x, y = largest_thing_pixel(frame)
    ids = frame.geometry.to_camera(frame.segment_map)
    assert ids[y, x] == things['segment_id'][things['area'].argmax()]
    stuff = things_only(frame)
    assert set(np.unique(stuff.segment_map)) - {0} == set(things['segment_id'].tolist())
    nothing = replace(frame, segments=frame.segments[frame.segments['is_thing'] == 0])
    with pytest.raises(NotDrawnError, match='--pixel'):
        largest_thing_pixel(nothing)


def test_deepest_equals_a_slow_reference():
    mask = np.random.default_rng(3).random((9, 12)) < 0.8

    def depth(y, x):
        outside = [
            (y - v) ** 2 + (x - u) ** 2
            for v in range(-1, 10)
            for u in range(-1, 13)
            if not (0 <= v < 9 and 0 <= u < 12 and mask[v, u])
        ]
        return min(outside)

    best = max(depth(y, x) for y in range(9) for x in range(12))
    assert depth(*deepest(mask)) == best > 0


def test_dimensions_are_drawn_three_by_three(model, view):
    picture = draw_dimensions(model, [view], Choice())
    assert picture.shape[1] == 4 * NARROW_WIDTH
    embedding = embedding_of(model, view)
    limit = color_limit([embedding])
    for first in range(0, 12, 3):
        part = dimension_colors(embedding[first : first + 3], limit)
        assert shows(picture, scaled(part, view, NARROW_WIDTH))
    colors = class_picture(view, NARROW_WIDTH)
    assert shows(picture, colors)
    known = view.labels.colors[view.frame.segments['class_id']].tolist()
    assert {tuple(c) for c in colors.reshape(-1, 3).tolist()} <= {*map(tuple, known), (0, 0, 0)}


def test_the_frames_of_a_video_share_one_scale(model, view):
    views = [view, make_view(model, sample(seed=8), 'next')]
    picture = draw_video(model, views, Choice())
    first, second = (embedding_of(model, one)[:3] for one in views)
    limit = color_limit([first, second])
    assert limit > min(np.abs(first).max(), np.abs(second).max())
    for one, embedding in zip(views, (first, second), strict=True):
        assert shows(picture, scaled(dimension_colors(embedding, limit), one, NARROW_WIDTH))
        assert shows(picture, one.prediction(NARROW_WIDTH))
