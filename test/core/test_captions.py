# SPDX-License-Identifier: Apache-2.0
"""Text on pictures: it fits its box, and every name can be drawn."""

import numpy as np
import pytest

from panoptic_ros.core.captions import (
    DARK,
    TextStyle,
    box_width,
    class_name,
    draw_caption,
    draw_legend,
    draw_text,
    drawable,
    fit_legend,
    shorten,
)
from panoptic_ros.core.labels import Label, LabelSet

TEXTS = ('gjpqy|', 'ÅÄÖ car #12', 'traffic sign (back)')


@pytest.mark.parametrize('height_px', [8, 10, 16, 24, 48])
def test_letters_stay_in_their_box(height_px):
    style = TextStyle(height_px)
    for text in map(drawable, TEXTS):
        picture = np.full((4 * style.line_px, box_width(text, style) + 80, 3), 77, np.uint8)
        draw_text(picture, text, (40, style.line_px), style)
        box = picture[style.line_px : 2 * style.line_px, 40:-40]
        assert (box[0] == DARK).all() and (box[-1] == DARK).all()
        assert (box[:, 0] == DARK).all() and (box[:, -1] == DARK).all()
        assert (box != DARK).any()
        box[:] = 77
        assert (picture == 77).all()


def test_a_text_is_shortened_to_a_width():
    style = TextStyle(8)
    long = 'abcdefgh' * 20
    for keep_end in (False, True):
        short = shorten(long, 100, style, keep_end)
        assert box_width(short, style) <= 100 < box_width(long, style)
        assert short.startswith('...') == keep_end != short.endswith('...')
    assert shorten('ab', 100, style) == 'ab'


def test_letters_that_the_font_lacks():
    assert drawable('Fußgänger\n') == 'Fu?ganger?'
    labels = LabelSet((Label('Bürgersteig', False, (1, 2, 3), 1), Label('車', True, (1, 2, 3), 2)))
    assert [class_name(labels, i) for i in (0, 1)] == ['Burgersteig', 'class 1']


def test_words_that_are_too_long_are_shortened():
    strip = draw_caption('x' * 500 + ' y', 200, TextStyle(8))
    assert strip.shape == (2 * TextStyle(8).line_px, 200, 3)


def test_a_legend_is_as_wide_as_its_entries_and_wraps():
    labels = LabelSet(tuple(Label(f'name {i}', False, (0, 0, 0), i) for i in range(20)))
    style = TextStyle(8)
    assert draw_legend(labels, [], 300, style).size == 0
    one, all_of_them = (draw_legend(labels, range(n), 300, style) for n in (1, 20))
    assert one.shape[0] == style.line_px and one.shape[1] < 120
    assert all_of_them.shape[0] > 3 * style.line_px and all_of_them.shape[1] <= 300
    for i in range(20):
        assert (all_of_them == labels.colors[i]).all(axis=-1).sum() > 50


@pytest.mark.parametrize('count', [1, 5, 17, 60, 133])
def test_as_many_classes_as_fit_are_in_the_legend(count):
    """The most important ones, ordered by number."""
    labels = LabelSet(
        tuple(Label(f'{"long " * (i % 4)}name {i}', False, (0, 0, 0), i) for i in range(133))
    )
    style, important = TextStyle(8), [int(i) for i in np.random.default_rng(1).permutation(count)]

    def shown_in(legend):
        colors = {tuple(color) for color in legend.reshape(-1, 3).tolist()}
        return [i for i in range(count) if tuple(labels.colors[i].tolist()) in colors]

    for lines in (1, 2, 5):
        legend = fit_legend(labels, important, 400, style, lines * style.line_px + 3)
        assert legend.shape[0] <= lines * style.line_px and legend.shape[1] <= 400
        shown = shown_in(legend)
        assert shown == sorted(important[: len(shown)]) and shown
        # Two more names would at least fill the last line.
        more = draw_legend(labels, sorted(important[: len(shown) + 2]), 400, style)
        assert len(shown) == count or len(more) >= lines * style.line_px
    assert fit_legend(labels, important, 400, style, 3).size == 0
    assert fit_legend(labels, [], 400, style, 100).size == 0
