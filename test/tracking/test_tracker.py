# SPDX-License-Identifier: Apache-2.0
"""The tracker on hand-made frames: cars are discs, at 10 frames per second by default."""

import dataclasses

import numpy as np
import pytest
from disc_frames import BLUE, CAR, PERSON, RED, ROAD, Disc, make_frame

from panoptic_ros.core.frame import TrackState
from panoptic_ros.tracking import Tracker, TrackerConfig

EAGER = TrackerConfig(min_hits=1)


def follow(tracker, frames):
    """Return the track ids of each frame's rows."""
    return [tracker.update(frame).segments['track_id'].tolist() for frame in frames]


def times(n, rate=10.0, start=0.0):
    return (start + np.arange(n) / rate).tolist()


@pytest.mark.parametrize(
    'speed',
    [
        0,  # standing still
        4,  # masks overlap
        18,  # masks hardly overlap at first: the boxes are near
        24,  # more than its own width: only near, then expected there
    ],
)
def test_an_id_lasts_under_motion(speed):
    frames = [make_frame(t, Disc(15 + speed * i)) for i, t in enumerate(times(7))]
    assert follow(Tracker(EAGER), frames) == [[1]] * 7


def test_a_shrinking_and_growing_thing_keeps_its_id():
    frames = [make_frame(i / 10, Disc(50, radius=r)) for i, r in enumerate([20, 14, 9, 6, 9, 14])]
    assert follow(Tracker(EAGER), frames) == [[1]] * 6


def test_order_of_rows_does_not_matter():
    frames = [make_frame(0.0, Disc(40), Disc(150)), make_frame(0.1, Disc(150), Disc(40))]
    assert follow(Tracker(EAGER), frames) == [[1, 2], [2, 1]]


def test_crossing_things_are_distinguished_by_embedding():
    # Painted by depth: the red one hides the blue one where they meet.
    frames = [
        make_frame(t, Disc(170 - 14 * i, embedding=BLUE), Disc(30 + 14 * i, embedding=RED))
        for i, t in enumerate(times(11))
    ]
    ids = follow(Tracker(EAGER), frames)
    assert ids[0] == ids[-1] == [1, 2]
    assert [1] not in ids, 'the one left in view is the red one'


def test_a_hidden_thing_is_expected_where_it_was_going():
    # Twins: one stands where the other went out of sight, which continues at 150 px/s.
    frames = [make_frame(t, Disc(20 + 150 * t)) for t in times(5)]
    frames += [make_frame(t) for t in times(3, start=0.5)]
    frames += [make_frame(0.8, Disc(20 + 150 * 0.8), Disc(20 + 150 * 0.4))]
    assert follow(Tracker(EAGER), frames)[-1][0] == 1


def test_a_stray_cell_that_spoils_the_box_does_not_spoil_the_mask():
    clean, spoilt = (make_frame(t, Disc(30), embedding_dim=0) for t in times(2))
    spoilt.segment_map[50, 190] = 1
    spoilt.segments['bbox_w'] = 190 - spoilt.segments['bbox_x'] + 1
    assert follow(Tracker(EAGER), [clean, spoilt]) == [[1], [1]]


def test_twins_are_distinguished_by_overlap():
    frames = [make_frame(t, Disc(60 + 2 * i), Disc(84 + 2 * i)) for i, t in enumerate(times(8))]
    assert follow(Tracker(EAGER), frames) == [[1, 2]] * 8


def test_embeddings_decide_where_overlap_cannot():
    config = TrackerConfig(min_hits=1, iou_weight=0)
    frames = [
        make_frame(0.0, Disc(30, embedding=RED), Disc(60, embedding=BLUE)),
        make_frame(0.1, Disc(30, embedding=BLUE), Disc(60, embedding=RED)),
    ]
    assert follow(Tracker(config), frames) == [[1, 2], [2, 1]]


def test_embeddings_may_have_any_length():
    frames = [
        make_frame(i / 10, Disc(50, embedding=(scale, 0.1 * scale, 0)))
        for i, scale in enumerate([1, 100, 0.01, 7])
    ]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


def test_embeddings_may_drift():
    frames = [
        make_frame(i / 10, Disc(50, embedding=(np.cos(turn), np.sin(turn), 0)))
        for i, turn in enumerate(np.radians(range(0, 91, 10)))
    ]
    config = TrackerConfig(min_hits=1, embedding_weight=2)
    assert follow(Tracker(config), frames) == [[1]] * 10


@pytest.mark.parametrize(
    'embedding',
    [
        (0.0, 0.0, 0.0),  # a model without information
        (np.nan, np.inf, 0.0),  # half-precision overflow
    ],
)
def test_useless_embeddings_are_ignored(embedding):
    config = TrackerConfig(min_hits=1, match_threshold=0.9)
    frames = [make_frame(t, Disc(50 + i, embedding=embedding)) for i, t in enumerate(times(4))]
    assert follow(Tracker(config), frames) == [[1]] * 4


def test_without_embeddings_only_overlap_counts():
    frames = [make_frame(t, Disc(50 + 3 * i), embedding_dim=0) for i, t in enumerate(times(4))]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


def test_where_class_cost_forbids_it_another_class_is_another_thing():
    frames = [make_frame(0.0, Disc(50, class_id=CAR)), make_frame(0.1, Disc(50, class_id=PERSON))]
    assert follow(Tracker(EAGER), frames) == [[1], [1]]
    assert follow(Tracker(TrackerConfig(min_hits=1, class_cost=1)), frames) == [[1], [2]]


def test_of_two_as_near_the_one_of_the_same_class_is_taken():
    frames = [
        make_frame(0.0, Disc(50, class_id=CAR)),
        make_frame(0.1, Disc(46, class_id=PERSON), Disc(60, class_id=CAR)),
    ]
    assert follow(Tracker(TrackerConfig(min_hits=1, class_cost=0)), frames)[1] == [1, 2]
    assert follow(Tracker(TrackerConfig(min_hits=1, class_cost=0.5)), frames)[1] == [2, 1]


# A high threshold is for poor overlap, not for jumps.
@pytest.mark.parametrize('threshold', [0.5, 1.0])
def test_a_thing_far_away_is_another_thing(threshold):
    frames = [make_frame(0.0, Disc(20)), make_frame(0.1, Disc(180))]
    config = TrackerConfig(min_hits=1, match_threshold=threshold)
    assert follow(Tracker(config), frames) == [[1], [2]]


def test_no_good_pair_is_given_up_for_two_poor_ones():
    frames = [make_frame(0.0, Disc(50), Disc(74)), make_frame(0.1, Disc(74), Disc(98))]
    assert follow(Tracker(EAGER), frames)[1][0] == 2


@pytest.mark.parametrize(
    ('hidden_s', 'expected'),
    [
        (0.3, [1]),  # within max_age: found again
        (1.2, [2]),  # later: a new thing
    ],
)
@pytest.mark.parametrize('rate', [10, 30])  # seconds, so the rate does not matter
def test_a_hidden_thing_is_found_again_for_max_age(hidden_s, expected, rate):
    tracker = Tracker(TrackerConfig(min_hits=1, max_age=1.0))
    speed = 40  # px/s
    for t in times(rate, rate):
        tracker.update(make_frame(t, Disc(30 + speed * t)))
    for t in times(round(hidden_s * rate) - 1, rate, start=1.0):
        tracker.update(make_frame(t))
    t = 1.0 + hidden_s
    assert follow(tracker, [make_frame(t, Disc(30 + speed * t))]) == [expected]


def test_a_gap_in_the_stamps_longer_than_max_age_ends_tracks():
    frames = [make_frame(0.0, Disc(50)), make_frame(60.0, Disc(50))]
    assert follow(Tracker(EAGER), frames) == [[1], [2]]


def test_min_hits_confirm_a_track():
    tracker = Tracker(TrackerConfig(min_hits=3))
    rows = [tracker.update(make_frame(t, Disc(50))).segments[0] for t in times(4)]
    assert [r['state'] for r in rows] == [TrackState.TENTATIVE] * 2 + [TrackState.CONFIRMED] * 2
    assert [r['age'] for r in rows] == [1, 2, 3, 4]
    assert {int(r['track_id']) for r in rows} == {1}


def test_a_tentative_track_ends_at_its_first_miss():
    tracker = Tracker(TrackerConfig(min_hits=3, tentative_age=0))
    frames = [make_frame(0.0, Disc(50)), make_frame(0.1), make_frame(0.2, Disc(50))]
    assert follow(tracker, frames) == [[1], [], [2]]


@pytest.mark.parametrize(('hidden_s', 'expected'), [(0.2, 1), (0.4, 2)])
def test_a_tentative_track_may_be_given_a_little_time(hidden_s, expected):
    tracker = Tracker(TrackerConfig(min_hits=3, tentative_age=0.25, max_age=1))
    frames = [
        make_frame(0.0, Disc(50)),
        *(make_frame(t) for t in np.arange(0.1, hidden_s, 0.1)),
        make_frame(hidden_s, Disc(50)),
    ]
    assert follow(tracker, frames)[-1] == [expected]


def test_a_miss_sets_back_what_confirms_a_track():
    tracker = Tracker(TrackerConfig(min_hits=3, tentative_age=1))
    states = []
    for t, discs in [(0.0, [1]), (0.1, [1]), (0.2, []), (0.3, [1]), (0.4, [1]), (0.5, [1])]:
        rows = tracker.update(make_frame(t, *(Disc(50) for _ in discs))).segments
        states += rows['state'].tolist()
    assert states == [TrackState.TENTATIVE] * 4 + [TrackState.CONFIRMED]


def test_empty_frames_age_tracks_and_stats_count_them():
    tracker = Tracker(TrackerConfig(min_hits=2, max_age=0.25))
    counts = []
    for t, discs in [(0.0, [Disc(50)]), (0.1, [Disc(50)]), (0.2, []), (0.3, []), (0.4, [])]:
        tracker.update(make_frame(t, *discs))
        counts.append(dataclasses.astuple(tracker.stats))
    # tentative, confirmed, coasting, lost
    assert counts == [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 1, 0), (0, 0, 0, 1)]


def test_age_counts_images_in_which_a_thing_was_hidden():
    tracker = Tracker(EAGER)
    frames = [make_frame(0.0, Disc(50)), make_frame(0.1), make_frame(0.2, Disc(50))]
    assert [tracker.update(f).segments['age'].tolist() for f in frames] == [[1], [], [3]]


def test_stamps_that_go_back_reset_the_tracker():
    frames = [make_frame(5.0, Disc(50)), make_frame(0.0, Disc(50)), make_frame(0.1, Disc(50))]
    assert follow(Tracker(EAGER), frames) == [[1], [2], [2]]


def test_the_same_stamp_twice_is_no_motion():
    frames = [make_frame(t, Disc(x)) for t, x in [(0.0, 50), (0.0, 54), (0.1, 54), (0.2, 54)]]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


@pytest.mark.parametrize(
    'stamps',
    [
        (5.0, 5.1, 5.2, 5.1999, 5.3, 5.4),  # 0.1 ms late
        (5.0, 5.1, 5.3, 5.2, 5.4, 5.5),  # two images out of order
        (5.0, 5.1, 5.2, 4.75, 4.85, 5.25),  # a clock that is corrected
        (5.0, np.nan, 5.1, np.inf, -np.inf, 5.2),
        (np.nan, 0.0, 0.1, 0.1, 0.2, 0.3),
    ],
)
def test_small_steps_back_are_no_time(stamps):
    frames = [make_frame(t, Disc(50 + i)) for i, t in enumerate(stamps)]
    tracker = Tracker(EAGER)
    for frame in frames:
        tracked = tracker.update(frame)
        assert tracked.segments['track_id'].tolist() == [1]
        assert np.array_equal(tracked.stamp_s, frame.stamp_s, equal_nan=True)
    assert tracker.stats.lost == 0


def test_no_time_has_passed_after_a_small_step_back():
    tracker = Tracker(TrackerConfig(min_hits=1, max_age=0.25))
    stamps = (0.0, 0.1, 0.35, 0.0, 0.34)  # the thing is seen in the first two
    ids = follow(
        tracker, [make_frame(t, *([Disc(50)] if i < 2 else [])) for i, t in enumerate(stamps)]
    )
    assert ids == [[1], [1], [], [], []]
    assert tracker.stats.coasting == 1
    tracker.update(make_frame(0.36))
    assert tracker.stats.lost == 1


@pytest.mark.parametrize('step_s', [1e-7, 1e-4])
@pytest.mark.parametrize('pairs', [True, False])
def test_images_that_come_together_give_no_speed(step_s, pairs):
    # The outline jumps by 3 px between images that are almost simultaneous.
    stamps = [0.0, step_s, 0.1, 0.1 + step_s] if pairs else [0.0, step_s, 0.1, 0.2]
    frames = [make_frame(t, Disc(50 + 3 * (i % 2))) for i, t in enumerate(stamps)]
    assert follow(Tracker(EAGER), [*frames, make_frame(0.3, Disc(52), Disc(150))]) == [
        [1],
        [1],
        [1],
        [1],
        [1, 2],
    ]


def test_speed_is_learnt_from_images_that_come_twice():
    config = TrackerConfig(
        min_hits=1, box_expansion=1, embedding_weight=0, match_threshold=0.4, reid_gate=0
    )
    frames = [make_frame(t, Disc(20 + 50 * t)) for t in (0, 0, 0.1, 0.1, 0.5)]
    assert follow(Tracker(config), frames) == [[1]] * 5


def test_ids_are_never_given_twice():
    tracker = Tracker(EAGER)
    first = follow(tracker, [make_frame(0.0, Disc(50), Disc(150))])
    tracker.reset()
    second = follow(tracker, [make_frame(0.1, Disc(50), Disc(150))])
    assert (first, second) == ([[1, 2]], [[3, 4]])
    assert tracker.stats.lost == 2


def test_nothing_in_the_first_frames():
    tracker = Tracker(EAGER)
    frames = [make_frame(0.0), make_frame(0.1), make_frame(0.2, Disc(50))]
    assert follow(tracker, frames) == [[], [], [1]]


def test_things_of_one_pixel():
    frames = [
        make_frame(t, Disc(50 + i % 2, radius=0), Disc(90, radius=0))
        for i, t in enumerate(times(4))
    ]
    assert frames[0].segments['area'].tolist() == [1, 1]
    assert follow(Tracker(EAGER), frames)[0::2] == [[1, 2]] * 2


def test_stuff_is_left_alone():
    frame = make_frame(0.0, Disc(50, class_id=ROAD, is_thing=False), Disc(150))
    frame.segments['track_id'], frame.segments['state'], frame.segments['age'] = 7, 3, 9
    rows = Tracker(EAGER).update(frame).segments
    assert rows[['track_id', 'state', 'age']].tolist() == [
        (0, TrackState.UNTRACKED, 0),
        (1, TrackState.CONFIRMED, 1),
    ]


def with_scores(frame, *scores):
    frame.segments['score'] = scores
    return frame


def test_segments_of_low_score_are_matched_with_the_remaining_tracks():
    # The one of low score overlaps more, as a part of a thing that is about to be hidden.
    config = TrackerConfig(min_hits=1, high_score_threshold=0.5)
    frames = [
        with_scores(make_frame(0.0, Disc(50)), 0.9),
        with_scores(make_frame(0.1, Disc(48), Disc(64)), 0.3, 0.9),
    ]
    assert follow(Tracker(config), frames)[1] == [2, 1]
    config = dataclasses.replace(config, high_score_threshold=0)
    assert follow(Tracker(config), frames)[1] == [1, 2]


def test_segments_of_low_score_have_a_threshold_of_their_own():
    config = TrackerConfig(
        min_hits=1,
        high_score_threshold=0.5,
        low_score_match_threshold=0.05,
        match_threshold=0.9,
        reid_gate=0,
    )
    for score, expected in ((0.3, 2), (0.9, 1)):
        frames = [
            with_scores(make_frame(0.0, Disc(50)), 0.9),
            with_scores(make_frame(0.1, Disc(56)), score),
        ]
        assert follow(Tracker(config), frames)[1] == [expected]


def test_a_segment_of_low_score_continues_a_track_but_starts_none():
    tracker = Tracker(TrackerConfig(min_hits=1, new_track_threshold=0.5))
    frames = [
        with_scores(make_frame(0.0, Disc(50)), 0.9),
        with_scores(make_frame(0.1, Disc(50), Disc(150)), 0.3, 0.3),
    ]
    rows = [tracker.update(frame).segments for frame in frames][1]
    assert rows[['track_id', 'state', 'age']].tolist() == [
        (1, TrackState.CONFIRMED, 2),
        (0, TrackState.UNTRACKED, 0),
    ]
    assert tracker.stats.confirmed == 1


HIDDEN = [make_frame(t, Disc(40, embedding=RED)) for t in times(4)] + [
    make_frame(t) for t in times(4, start=0.4)
]
"""Frames of a thing that stands still and is then not seen for half a second."""


@pytest.mark.parametrize(
    ('disc', 'config', 'expected', 'why'),
    [
        (Disc(100), {}, 1, 'it moved on behind an obstacle'),
        (Disc(100), {'reid_gate': 0}, 2, 'no re-identification'),
        (Disc(100, embedding=BLUE), {}, 2, 'another thing'),
        (Disc(100), {'reid_max_speed': 3}, 2, 'too far for 0.5 s: 60 px, 3 of its sizes a second'),
        (Disc(100), {'max_age': 0.45}, 2, 'gone'),
        (
            Disc(100),
            {'embedding_weight': 0},
            2,
            'without embeddings there is no re-identification',
        ),
        (Disc(100, embedding=(0, 0, 0)), {}, 2, 'the embedding is not known'),
    ],
)
def test_a_hidden_thing_is_recognised_by_its_embedding(disc, config, expected, why):
    settings = {'min_hits': 1, 'max_age': 2, 'reid_gate': 0.3, 'reid_max_speed': 8, **config}
    tracker = Tracker(TrackerConfig(**settings))
    assert follow(tracker, [*HIDDEN, make_frame(0.8, disc)])[-1] == [expected], why


def turned(degrees):
    return (np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0)


@pytest.mark.parametrize(('wobble', 'expected'), [(1, 2), (25, 1)])
def test_each_track_learns_how_much_its_embedding_varies(wobble, expected):
    # The same turn by 30 degrees is another thing to one that never varied.
    config = TrackerConfig(
        min_hits=1,
        iou_weight=0,
        match_threshold=0.5,
        embedding_spread=0.02,
        reid_gate=0,
        spread_factor=4,
        embedding_time_constant=1,
    )
    frames = [
        make_frame(t, Disc(50, embedding=turned(min(1, t / 6) * wobble * (-1) ** i)))
        for i, t in enumerate(times(80))
    ]
    ids = follow(Tracker(config), [*frames, make_frame(8.0, Disc(50, embedding=turned(30)))])
    assert ids[:-1] == [[1]] * 80
    assert ids[-1] == [expected]


@pytest.mark.parametrize(
    'keep',
    [
        lambda i: True,
        lambda i: i % 2 == 0,
        lambda i: i % 5 == 0,
        lambda i: i % 7 not in (1, 2, 5),  # dropped now and then
    ],
)
def test_ids_do_not_depend_on_which_frames_were_dropped(keep):
    frames = [
        make_frame(t, Disc(20 + 30 * t), Disc(180 - 50 * t, y=30), Disc(100, y=80))
        for t in times(41, rate=20)
    ]
    ids = follow(Tracker(EAGER), [frame for i, frame in enumerate(frames) if keep(i)])
    assert ids == [[1, 2, 3]] * len(ids)


@pytest.mark.parametrize('rate', [20, 10, 4])
def test_averages_over_time_are_the_same_at_any_rate(rate):
    config = TrackerConfig(min_hits=1, smooth=True, class_time_constant=0.5, class_cost=0)
    tracker = Tracker(config)
    frames = [
        make_frame(t, Disc(50, class_id=CAR if t < 1 else PERSON)) for t in times(2 * rate, rate)
    ]
    classes = [tracker.update(frame).segments['class_id'][0] for frame in frames]
    # The vote changes after 0.5 s * ln 2, at the next image.
    changed = times(2 * rate, rate)[classes.index(PERSON)] - 1
    assert abs(changed - 0.35) <= 1 / rate


def test_smoothing_votes_the_class_and_averages_the_score():
    config = TrackerConfig(min_hits=1, class_time_constant=1.0, smooth=True)
    kinds = [CAR, CAR, CAR, PERSON, CAR, CAR]
    scores = [0.8, 0.8, 0.8, 0.4, 0.8, 0.8]
    frames = [
        with_scores(make_frame(t, Disc(50, class_id=kind)), score)
        for t, kind, score in zip(times(6), kinds, scores, strict=True)
    ]
    for smooth in (True, False):
        tracker = Tracker(dataclasses.replace(config, smooth=smooth))
        rows = np.concatenate([tracker.update(frame).segments for frame in frames])
        assert set(rows['track_id'].tolist()) == {1}
        if smooth:
            assert rows['class_id'].tolist() == [CAR] * 6
            assert rows['score'][3] == pytest.approx(0.7)  # the mean of four
        else:
            assert rows['class_id'].tolist() == kinds
            np.testing.assert_allclose(rows['score'], scores, rtol=1e-6)


def test_the_vote_is_weighted_by_score():
    tracker = Tracker(TrackerConfig(min_hits=1, class_time_constant=100, smooth=True))
    frames = [
        with_scores(make_frame(t, Disc(50, class_id=kind)), score)
        for t, kind, score in zip(times(3), (CAR, PERSON, PERSON), (0.9, 0.3, 0.4), strict=True)
    ]
    assert [int(tracker.update(f).segments['class_id'][0]) for f in frames] == [CAR] * 3


def test_without_larger_boxes_only_overlap_counts():
    frames = [make_frame(0.0, Disc(50)), make_frame(0.1, Disc(72))]
    base = TrackerConfig(min_hits=1, min_overlap=0, match_threshold=0.95, reid_gate=0)
    assert follow(Tracker(dataclasses.replace(base, box_expansion=2)), frames)[1] == [1]
    assert follow(Tracker(dataclasses.replace(base, box_expansion=1, embedding_weight=0)), frames)[
        1
    ] == [2]


@pytest.mark.parametrize(('growth', 'expected'), [(0, 2), (4, 1)])
def test_a_thing_that_was_hidden_for_long_is_searched_farther_away(growth, expected):
    config = TrackerConfig(
        min_hits=1,
        box_expansion=1.2,
        box_expansion_rate=growth,
        reid_gate=0,
        match_threshold=0.9,
        min_overlap=0.1,
    )
    assert follow(Tracker(config), [*HIDDEN, make_frame(0.8, Disc(68))])[-1] == [expected]


def test_the_input_is_not_changed():
    frame = make_frame(0.0, Disc(50), Disc(150))
    before = frame.segments.copy()
    frame.segments.flags.writeable = frame.segment_map.flags.writeable = False
    after = Tracker(EAGER).update(frame)
    assert (frame.segments == before).all()
    assert after.segment_map is frame.segment_map and after.segments is not frame.segments


def test_segment_ids_need_not_be_in_order_or_dense():
    tracker = Tracker(EAGER)
    for t in times(2):
        frame = make_frame(t, Disc(40), Disc(150))
        rows = frame.segments[::-1].copy()
        rows['segment_id'] = [65535, 9]
        new_map = np.array([0, 9, 65535], np.uint16)[frame.segment_map]
        frame = dataclasses.replace(frame, segments=rows, segment_map=new_map)
        assert tracker.update(frame).segments['track_id'].tolist() == [1, 2]


def test_another_image_size_shows_the_same_things():
    frames = [
        make_frame(0.0, Disc(150)),
        make_frame(0.1, Disc(152)),
        make_frame(0.2, Disc(308, y=100, radius=20), size=(200, 400)),
        make_frame(0.3, Disc(312, y=100, radius=20), size=(200, 400)),
    ]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


def test_speed_fits_another_image_size():
    frames = [make_frame(t, Disc(20 + 150 * t)) for t in times(3)]
    frames += [
        make_frame(t, Disc(2 * (20 + 150 * t), y=100, radius=20), size=(200, 400))
        for t in times(3, start=0.8)
    ]
    assert follow(Tracker(EAGER), frames) == [[1]] * 6


def test_another_embedding_size_is_another_model():
    frames = [make_frame(0.0, Disc(50)), make_frame(0.1, Disc(50), embedding_dim=2)]
    assert follow(Tracker(EAGER), frames) == [[1], [2]]


def test_coarse_maps_track_as_well():
    frames = [
        make_frame(t, Disc(30 + 8 * i), Disc(60 + 8 * i), stride=4) for i, t in enumerate(times(8))
    ]
    assert follow(Tracker(EAGER), frames) == [[1, 2]] * 8


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('max_age', 0.0),  # no track would outlive its image
        ('max_age', float('nan')),
        ('min_hits', 0),
        ('embedding_weight', -1.0),
        ('iou_weight', float('inf')),
        ('match_threshold', 0.0),  # nothing would match
        ('match_threshold', 1.5),
        ('low_score_match_threshold', 0.0),
        ('reid_gate', -0.1),  # 0 is: never
        ('box_expansion', 0.9),  # smaller boxes find less
        ('box_expansion_rate', -1.0),
        ('velocity_time_constant', 0.0),
        ('embedding_spread', 0.0),
        ('spread_factor', float('nan')),
        ('tentative_age', -0.1),
        ('class_cost', -0.1),
    ],
)
def test_bad_settings_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf'^tracker\.{field} must be .*got '):
        TrackerConfig(**{field: value})


def test_one_distance_must_have_a_weight():
    with pytest.raises(ValueError, match='must not both be 0'):
        TrackerConfig(embedding_weight=0, iou_weight=0)


def test_all_numbers_stay_finite_with_any_stamps():
    rng = np.random.default_rng(0)
    odd = [0.0, -1.0, np.nan, np.inf, -np.inf, 1.7e9, 2.0**31, 5e-324, 1e300, -1e300]
    tracker = Tracker(TrackerConfig(min_hits=2, smooth=True))
    t, ids = 1.7e9, 0
    with np.errstate(all='raise', under='ignore'):
        for _ in range(400):
            t += rng.choice([0.1, 0.0, 1e-9, -1e-4, -0.3, 0.9])
            stamp_s = float(rng.choice(odd)) if rng.random() < 0.2 else t
            discs = [Disc(x, radius=int(rng.integers(0, 12))) for x in rng.integers(5, 190, 3)]
            rows = tracker.update(make_frame(stamp_s, *discs[: rng.integers(0, 4)])).segments
            assert np.isfinite(tracker._tracks['velocity']).all()
            assert (tracker._tracks['seen_s'] <= tracker._last.stamp_s).all()
            assert len(set(rows['track_id'].tolist())) == len(rows)
            ids = max(ids, *rows['track_id'].tolist(), 0)
    assert tracker.stats.lost > 0 and ids > 10


UNKNOWN = 3


def shown_as(classes, **config):
    """Follow a disc that has these classes in turn, of which UNKNOWN is withheld; return rows."""
    tracker = Tracker(TrackerConfig(min_hits=1, **config))
    frames = (
        dataclasses.replace(make_frame(t, Disc(50 + t, class_id=class_id)), unknown_id=UNKNOWN)
        for t, class_id in zip(times(len(classes)), classes, strict=True)
    )
    return [tracker.update(frame).segments[0] for frame in frames]


@pytest.mark.parametrize('class_cost', [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    'classes',
    [
        [PERSON, UNKNOWN, UNKNOWN, PERSON],
        [UNKNOWN, PERSON, UNKNOWN, PERSON],
        [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN],
    ],
)
def test_a_thing_keeps_its_track_while_its_class_is_withheld(classes, class_cost):
    rows = shown_as(classes, class_cost=class_cost, match_threshold=0.5)
    assert [row['track_id'] for row in rows] == [1, 1, 1, 1]
    assert [row['class_id'] for row in rows] == classes


def test_a_withheld_class_does_not_make_tracks_of_other_classes_alike():
    rows = shown_as([PERSON, UNKNOWN, CAR], class_cost=1.0)
    assert [row['track_id'] for row in rows] == [1, 1, 2]


def test_smoothing_takes_the_votes_of_images_with_a_class():
    many = [PERSON, *[UNKNOWN] * 400]  # longer than votes in single precision would decay
    assert {int(row['class_id']) for row in shown_as(many, smooth=True)} == {PERSON}
    rows = shown_as([UNKNOWN, UNKNOWN, PERSON, PERSON, CAR, PERSON], smooth=True)
    assert [row['class_id'] for row in rows] == [UNKNOWN] * 2 + [PERSON] * 4
