# SPDX-License-Identifier: Apache-2.0
"""Events of tracks, with tracks made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.mining.flicker import Flicker

GEOMETRY = Geometry((16, 32), (16, 32), 1)
CAR, PERSON = 0, 1


def frame(stamp_s, *things):
    """Return the model's frame and the tracked one; a thing is (track id, class, x)."""
    rows = np.zeros(len(things), segment_dtype(0))
    rows['segment_id'] = np.arange(1, len(things) + 1)
    rows['is_thing'] = 1
    rows['bbox_w'], rows['bbox_h'] = 8, 8
    for row, (_, class_id, x) in zip(rows, things, strict=True):
        row['class_id'], row['bbox_x'] = class_id, x
    raw = PanopticFrame(np.zeros((16, 32), np.uint16), rows, GEOMETRY, stamp_s)
    tracked = rows.copy()
    tracked['track_id'] = [track for track, _, _ in things]
    tracked['class_id'] = CAR  # what smoothing makes of it
    return raw, replace(raw, segments=tracked)


def events(*frames):
    flicker = Flicker()
    for one in frames:
        flicker.update(*one)
    return flicker.finish()


def test_steady_tracks_have_no_event():
    found = events(*(frame(i / 10, (1, CAR, i), (2, PERSON, 20)) for i in range(5)))
    assert found == [(0, {})] * 5


def test_a_change_of_the_models_class():
    found = events(*(frame(i / 10, (1, (CAR, PERSON)[i == 2], 0), (2, CAR, 20)) for i in range(5)))
    change = 0.5, {'class change': 1}  # of two things
    assert found == [(0, {}), (0, {}), change, change, (0, {})]


def test_a_short_track_counts_where_it_starts():
    found = events(
        *(frame(i / 10, (1, CAR, 0), *([(2, CAR, 20)] if i in (2, 3) else [])) for i in range(6))
    )
    assert [event for _, event in found] == [{}, {}, {'short track': 1}, {}, {}, {}]


def test_tracks_at_the_ends_may_be_longer_than_they_appear():
    first, last = frame(0, (1, CAR, 0)), frame(0.3, (2, CAR, 20))
    assert events(first, frame(0.1), frame(0.2), last) == [(0, {})] * 4


@pytest.mark.parametrize(
    ('class_id', 'x', 'pause_s', 'is_change'),
    [
        (CAR, 2, 0.1, True),
        (PERSON, 2, 0.1, False),
        (CAR, 20, 0.1, False),  # elsewhere
        (CAR, 2, 1.5, False),  # much later
    ],
)
def test_a_new_id_where_a_track_has_just_ended(class_id, x, pause_s, is_change):
    before = [frame(i / 10, (1, CAR, 0)) for i in range(4)]
    after = [frame(0.3 + pause_s + i / 10, (2, class_id, x)) for i in range(4)]
    found = events(*before, *after)
    assert found[4][1] == ({'id change': 1} if is_change else {})


def test_a_second_thing_beside_a_visible_one_is_no_change_of_id():
    found = events(
        *(frame(i / 10, (1, CAR, 0), *([(2, CAR, 2)] if i >= 2 else [])) for i in range(8))
    )
    assert found == [(0, {})] * 8
