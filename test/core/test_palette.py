# SPDX-License-Identifier: Apache-2.0
"""The default colours: people can tell them apart, with normal vision and without."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from color_vision import DEUTERANOPIA, PROTANOPIA, VISIONS, distance, smallest_distance

from panoptic_ros.core.captions import ink_for
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.overlay import ALPHA
from panoptic_ros.core.palette import PALETTE, distinct_color, distinct_colors

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def label_set(colors):
    return LabelSet(tuple(Label(f'c{i}', False, c, i) for i, c in enumerate(colors)))


def test_the_simulation_is_that_of_the_paper():
    for matrix in (PROTANOPIA, DEUTERANOPIA):
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)  # grey stays grey
    assert distance((255, 0, 0), (0, 255, 0)) == pytest.approx(170.6, abs=0.5)
    assert (
        distance((180, 75, 0), (110, 110, 0), DEUTERANOPIA)
        < 20
        < distance((180, 75, 0), (110, 110, 0))
    )


@pytest.mark.parametrize('vision', VISIONS)
def test_classes_can_be_told_apart(vision):
    matrix = VISIONS[vision]
    assert len(PALETTE) >= 20
    assert smallest_distance([*PALETTE, BLACK, WHITE], matrix) >= 20
    rng = np.random.default_rng(0)
    for count in (2, 9, 19, 20, 24):
        for own in (PALETTE[:count], [(0, 0, 142)] * count, rng.integers(0, 256, (count, 3))):
            colors = label_set([tuple(map(int, color)) for color in own]).colors[:count]
            assert smallest_distance(colors, matrix) >= 20


@pytest.mark.parametrize('grey', [0, 60, 128, 200, 255])
@pytest.mark.parametrize('vision', VISIONS)
def test_classes_can_be_told_apart_over_an_image(vision, grey):
    painted = [tuple((1 - ALPHA) * grey + ALPHA * np.array(color)) for color in PALETTE]
    assert smallest_distance(painted, VISIONS[vision]) >= 6


@pytest.mark.parametrize(('count', 'least'), [(4, 60), (9, 23)])
def test_the_first_colours_are_far_apart(count, least):
    for vision in VISIONS.values():
        assert smallest_distance(PALETTE[:count], vision) >= least


def test_colours_resemble_those_of_the_data_set():
    sky, trees, person = distinct_colors([(70, 130, 180), (107, 142, 35), (220, 20, 60)])
    assert sky[2] == max(sky) and trees[1] == max(trees) and person[0] == max(person)
    assert distinct_colors(PALETTE) == list(PALETTE)  # as of a class file without colours


def test_pictures_show_the_own_colours_on_request():
    own = [(0, 0, 142), (0, 0, 143)]
    labels = label_set(own)
    assert labels.colors[:2].tolist() != [list(color) for color in own]
    asked = replace(labels, own_colors=True)
    assert asked.colors[:2].tolist() == [list(color) for color in own]
    assert asked == labels and asked.to_dicts() == labels.to_dicts()


def test_large_sets_repeat_no_colour():
    colors = [distinct_color(i) for i in range(255)]
    assert len(set(colors)) == 255 and BLACK not in colors
    for vision in VISIONS.values():
        assert min(distance(a, b, vision) for a, b in pairwise(colors)) >= 10


def test_letters_on_any_colour_are_legible():
    def luminance(color):
        value = np.array(color) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    for color in map(distinct_color, range(255)):
        dark, light = sorted((luminance(color), luminance(ink_for(color))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, level AA
