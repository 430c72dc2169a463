# SPDX-License-Identifier: Apache-2.0
"""Flicker of stuff, and its scores with and without the vote."""

import numpy as np
import pytest
from disc_frames import Disc, make_frame
from recorded_clips import clip_of

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_training.tracking.stuff_study import flicker, score_stuff, stuff_summary

LABELS = LabelSet(
    (
        Label('road', False, (0, 0, 0), 0),
        Label('grass', False, (0, 9, 0), 1),
        Label('car', True, (0, 0, 9), 2),
    )
)
ROAD, GRASS, CAR, VOID = 0, 1, 2, 255


def test_flicker_counts_changes_of_steady_stuff_only():
    gt = np.array([[ROAD, ROAD, CAR, ROAD, VOID]]), np.array([[ROAD, ROAD, CAR, GRASS, VOID]])
    pred = np.array([[ROAD, ROAD, CAR, ROAD, ROAD]]), np.array([[ROAD, CAR, ROAD, GRASS, GRASS]])
    assert flicker(gt, pred, LABELS) == (1, 2)


def ground(stamp_s, patch):
    """Return a frame of road and grass, with a patch of road in the grass or without."""
    road = Disc(0, 50, 60, class_id=ROAD, is_thing=False)
    grass = Disc(100, 50, 300, class_id=GRASS, is_thing=False)
    spot = Disc(150, 50, 20, class_id=ROAD, is_thing=False)
    return make_frame(stamp_s, grass, road, *([spot] if patch else []))


def test_the_vote_removes_a_patch_that_is_seen_once():
    gt = [ground(t / 20, False) for t in range(6)]
    clip = clip_of([ground(t / 20, t == 3) for t in range(6)], gt)
    off, on = (
        stuff_summary([score_stuff(clip, LABELS, vote, False, 1)], LABELS)
        for vote in (False, True)
    )
    assert on['sq'] == pytest.approx(100) and on['flicker'] == 0
    assert off['sq'] < 99
    area = np.count_nonzero(clip.frames[3].segment_map[::2, ::2] == 3)
    assert off['flicker'] == pytest.approx(100 * 2 * area / (5 * 50 * 100))


def test_every_nth_frame_is_scored():
    clip = clip_of([ground(t / 20, t % 2 == 1) for t in range(6)], [ground(0, False)] * 6)
    scores = stuff_summary([score_stuff(clip, LABELS, False, False, 2)], LABELS)
    assert scores['sq'] == pytest.approx(100) and scores['flicker'] == 0
