# SPDX-License-Identifier: Apache-2.0
import random
import string

import pytest

from panoptic_ros.core.text import MAX_TEXT, one_line
from panoptic_ros.node.notices import MAX_DIFFERENT, Notices


@pytest.fixture
def notices(caplog):
    return Notices()


def test_texts_that_differ_in_numbers_are_logged_once(notices, caplog):
    for width in range(20):
        notices.warn('bad image', f'bad image: {width} x 0 pixels at 0x7fe{width}')
    assert caplog.messages == ['bad image: 0 x 0 pixels at 0x7fe0']


def test_many_different_texts_give_a_few_short_lines(notices, caplog):
    draw = random.Random(1)
    for _ in range(300):
        notices.warn('bad image', ''.join(draw.choices(string.printable, k=3000)))
    assert len(caplog.messages) == MAX_DIFFERENT + 1
    assert caplog.messages[-1].startswith('bad image: further warnings of this kind are not')
    assert all(len(line) <= MAX_TEXT + 3 and '\n' not in line for line in caplog.messages)


def test_one_kind_of_trouble_does_not_hide_another(notices, caplog):
    for letter in string.ascii_letters:
        notices.warn('bad image', letter)
    notices.warn('inference failed', 'no memory')
    assert caplog.messages[-1] == 'no memory'


def test_everything_may_be_logged_again_after_a_new_start(notices, caplog):
    for _ in range(2):
        notices.warn('too old', 'an image is 7 ms old')
        notices.clear()
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (ValueError(' two\nlines\t'), 'two lines'),
        ('abcdef', 'abcd...'),
        ('abcd', 'abcd'),
        (50 * ' ' + 'x', ''),  # a megabyte of spaces is not searched
    ],
)
def test_one_line(text, expected):
    limit = 20 if isinstance(text, ValueError) else 4
    assert one_line(text, limit) == expected
