# SPDX-License-Identifier: Apache-2.0
"""The vote for stuff against a slow count of each cell."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.tracking.camera_motion import STANDING
from panoptic_ros.tracking.stuff_vote import MAX_AGE_S, VOTES, StuffVote

ROAD, GRASS, WALL, CAR, UNKNOWN = range(5)
VOID = 255
GEOMETRY = Geometry(image_size=(48, 80), input_size=(24, 40), stride=2)  # 4 px per cell
SIZE = GEOMETRY.map_size


def frame_of(classes, stamp_s=0.0, geometry=GEOMETRY):
    """Return a frame with one segment per class of a map (h, w)."""
    present = [c for c in np.unique(classes).tolist() if c != VOID]
    rows = np.zeros(len(present), segment_dtype(0))
    rows['class_id'], rows['segment_id'] = present, np.arange(1, len(rows) + 1)
    rows['is_thing'], rows['score'] = rows['class_id'] == CAR, 0.5
    ids = np.zeros(classes.shape, np.uint16)
    for row in rows:
        mask = classes == row['class_id']
        ids[mask] = row['segment_id']
        row['area'] = mask.sum() * np.prod(geometry.px_per_cell)
    return PanopticFrame(
        ids, rows, geometry, stamp_s, UNKNOWN, np.full(classes.shape, 200, np.uint8)
    )


def random_classes(rng):
    """Return a map in which most cells are the same in all frames."""
    fixed = np.add.outer(np.arange(SIZE[0]) // 4, np.arange(SIZE[1]) // 5) % 3
    noise = rng.choice([ROAD, GRASS, WALL, CAR, UNKNOWN, VOID], SIZE)
    return np.where(rng.random(SIZE) < 0.4, noise, fixed)


def shift_of(x, y):
    """Return a motion by whole cells, in camera px."""
    return np.array([[1, 0, 4 * x], [0, 1, 4 * y], [0, 0, 1]], float)


def slow_votes(history, shifts):
    """Count the votes of each cell; maps and the move of each to the present one, newest first."""
    own, result = history[0], history[0].copy()
    for y, x in np.ndindex(own.shape):
        if own[y, x] in (CAR, UNKNOWN, VOID):
            continue
        ballots = []
        for class_map, (dx, dy) in zip(history, shifts, strict=True):
            if 0 <= y - dy < SIZE[0] and 0 <= x - dx < SIZE[1]:
                ballot = int(class_map[y - dy, x - dx])
                if ballot in (ROAD, GRASS, WALL) and ballot in own:
                    ballots.append(ballot)
        # The most frequent; of equals the newest, which most_common() lists first.
        result[y, x] = Counter(ballots).most_common(1)[0][0]
    return result


@pytest.mark.parametrize('moves', [[(0, 0)] * 8, [(1, 0), (-2, 1), (0, -1), (3, 2)] * 2])
def test_each_cell_of_stuff_has_the_class_of_most_of_the_last_frames(moves):
    rng, vote = np.random.default_rng(0), StuffVote()
    history, shifts, changed = [], [], 0
    for i, (x, y) in enumerate(moves):
        classes = random_classes(rng)
        shifts = [(0, 0), *((a + x, b + y) for a, b in shifts)][:VOTES]
        history = [classes, *history][:VOTES]
        got = vote.update(frame_of(classes, i / 20), shift_of(x, y))
        np.testing.assert_array_equal(got.semantic_map, slow_votes(history, shifts))
        changed += np.count_nonzero(got.semantic_map != classes)
    assert changed > 100


def test_rows_are_those_of_the_voted_map():
    rng, vote = np.random.default_rng(1), StuffVote()
    for i in range(4):
        got = vote.update(frame_of(random_classes(rng), i / 20))
    assert set(np.unique(got.segment_map)) - {0} == set(got.segments['segment_id'])
    for row in got.segments:
        y, x = np.nonzero(got.segment_map == row['segment_id'])
        assert row['area'] == 16 * len(x)
        if row['class_id'] in (ROAD, GRASS, WALL):
            assert row['u'] == pytest.approx(4 * (x + 0.5).mean())
            assert row['v'] == pytest.approx(4 * (y + 0.5).mean())
            box = [row[f'bbox_{name}'] for name in 'xywh']
            assert box == [4 * x.min(), 4 * y.min(), 4 * np.ptp(x) + 4, 4 * np.ptp(y) + 4]


def flat(class_id, *patch):
    """Return a map of one class with others in its first row."""
    classes = np.full(SIZE, class_id)
    classes[0, : len(patch)] = patch
    return classes


def run(vote, *maps, step_s=0.05, motion=STANDING):
    """Return the last of some frames after the vote."""
    for i, classes in enumerate(maps):
        got = vote.update(frame_of(classes, i * step_s), motion)
    return got


def test_a_segment_that_loses_all_cells_is_left_out_and_confidence_is_the_share_of_votes():
    got = run(StuffVote(), flat(ROAD), flat(ROAD), flat(ROAD, GRASS))
    assert got.segments['class_id'].tolist() == [ROAD] and not (got.semantic_map != ROAD).any()
    assert got.confidence_map[0, 0] == round(255 * 2 / 3)
    assert got.confidence_map[0, 1] == 200


def test_things_void_and_unknown_neither_vote_nor_change():
    odd = CAR, UNKNOWN, VOID
    got = run(StuffVote(), flat(ROAD), flat(ROAD), flat(ROAD, *odd))
    assert got.semantic_map[0, :3].tolist() == list(odd)
    got = run(StuffVote(), flat(ROAD, *odd), flat(ROAD, *odd), flat(ROAD, *[GRASS] * 3))
    assert got.semantic_map[0, :3].tolist() == [GRASS] * 3


def test_no_cell_gets_a_class_that_the_frame_does_not_have():
    got = run(StuffVote(), flat(ROAD, WALL), flat(ROAD, WALL), flat(ROAD, GRASS))
    assert got.semantic_map[0, 0] == GRASS


def test_cells_that_come_into_the_image_have_their_own_class():
    new = flat(ROAD, GRASS, GRASS, GRASS)
    got = run(StuffVote(), flat(ROAD), flat(ROAD), new, motion=shift_of(1, 0))
    # The three frames vote for the third cell, two for the second, one for the first.
    assert got.semantic_map[0, :3].tolist() == [GRASS, GRASS, ROAD]


def test_a_frame_without_a_change_is_returned_as_it_is():
    frame = frame_of(flat(ROAD))
    vote = StuffVote()
    assert vote.update(frame) is frame and vote.update(frame) is frame


def grown(factor):
    """Return a motion that enlarges the image about its middle."""
    return np.array([[factor, 0, 40 * (1 - factor)], [0, factor, 24 * (1 - factor)], [0, 0, 1]])


@pytest.mark.parametrize(
    ('change', 'forgets'),
    [
        (lambda vote: None, False),
        (lambda vote: vote.clear(), True),
        (lambda vote: vote.update(frame_of(flat(ROAD), 0.1), None), True),  # motion not known
        (lambda vote: vote.update(frame_of(flat(ROAD), 0.1), grown(1.04)), False),  # 0.4 cells
        (lambda vote: vote.update(frame_of(flat(ROAD), 0.1), grown(1.3)), True),
        (lambda vote: vote.update(frame_of(flat(ROAD), -9)), True),  # a bag that starts again
        (
            lambda vote: vote.update(
                frame_of(flat(ROAD), 0.1, replace(GEOMETRY, image_size=(48, 79)))
            ),
            True,
        ),
    ],
)
def test_votes_are_forgotten(change, forgets):
    vote = StuffVote()
    run(vote, flat(ROAD), flat(ROAD))
    change(vote)
    got = vote.update(frame_of(flat(ROAD, GRASS), 0.15))
    assert bool(got.semantic_map[0, 0] == GRASS) is forgets


def test_old_frames_do_not_vote():
    step_s = MAX_AGE_S / 2 + 0.01
    got = run(StuffVote(), flat(ROAD), flat(ROAD), flat(ROAD, GRASS), step_s=step_s)
    assert got.semantic_map[0, 0] == GRASS, 'one vote against one'
    got = run(StuffVote(), flat(ROAD), flat(ROAD), flat(ROAD, GRASS), step_s=MAX_AGE_S / 2)
    assert got.semantic_map[0, 0] == ROAD
