# SPDX-License-Identifier: Apache-2.0
"""Text on pictures: it fits its box, and every name can be drawn."""

import numpy as np
import pytest

from panoptic_ros.core.captions import (
    DARK,
    TextStyle,
    box_width,
    draw_caption,
    draw_text,
    drawable,
    shorten,
)

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


def test_words_that_are_too_long_are_shortened():
    strip = draw_caption('x' * 500 + ' y', 200, TextStyle(8))
    assert strip.shape == (2 * TextStyle(8).line_px, 200, 3)
