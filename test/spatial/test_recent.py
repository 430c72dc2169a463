# SPDX-License-Identifier: Apache-2.0
"""Choice of the message that fits an image."""

import random

import pytest

from panoptic_ros.spatial.recent import MAX_MESSAGES, Recent


def filled(*stamps):
    recent = Recent()
    for stamp in stamps:
        recent.add(stamp, f'm{stamp}', 1)
    return recent


@pytest.mark.parametrize(
    ('stamps', 'at', 'nearest', 'newest'),
    [
        ((), 10, None, None),
        ((10,), 10, ('m10', 0), ('m10', 0)),
        ((8, 11, 13), 10, ('m11', 1), ('m13', 3)),
        ((13, 11, 8), 10, ('m11', 1), ('m13', 3)),  # out of order
        ((6, 16), 10, ('m6', -4), ('m6', -4)),
        ((4, 16), 10, None, None),  # both too far away
        ((5, 15), 10, ('m15', 5), ('m15', 5)),  # just near enough
    ],
)
def test_choice(stamps, at, nearest, newest):
    assert filled(*stamps).nearest(at, 5) == nearest
    assert filled(*stamps).newest(at, 5) == newest


def test_images_in_order_find_the_same_as_among_all_messages():
    rng = random.Random(0)
    stamps = [i * 33 + rng.randrange(20) for i in range(25)]
    recent = filled(*stamps)
    for at in range(0, 800, 37):
        best = min(stamps, key=lambda stamp: abs(stamp - at))
        expected = (f'm{best}', best - at) if abs(best - at) <= 15 else None
        assert recent.nearest(at, 15) == expected


def test_what_is_kept_is_bounded(monkeypatch):
    recent = filled(*range(2 * MAX_MESSAGES))
    assert recent.nearest(MAX_MESSAGES - 1, 0) is None
    assert recent.nearest(MAX_MESSAGES, 0)
    monkeypatch.setattr('panoptic_ros.spatial.recent.MAX_BYTES', 100)
    recent = Recent()
    for stamp in range(5):
        recent.add(stamp, stamp, 60)
    assert recent.nearest(3, 0) is None and recent.nearest(4, 0) == (4, 0)
    recent.add(5, 5, 1000)  # a single one is kept whatever its size
    assert recent.nearest(5, 0) == (5, 0)


def test_of_equal_stamps_the_last_one_is_taken():
    """As of drivers that do not stamp their messages."""
    recent = Recent()
    for number in range(5):
        recent.add(0, number, 1)
    assert recent.nearest(0, 50) == recent.newest(0, 50) == (4, 0)
