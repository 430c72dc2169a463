"""The tracker on hand-made frames: cars are discs, 10 frames a second unless told otherwise."""

import dataclasses

import numpy as np
import pytest
from disc_frames import BLUE, CAR, PERSON, RED, ROAD, Disc, make_frame

from panoptic_ros.frame import TrackState
from panoptic_ros.tracking import Tracker, TrackerConfig

EAGER = TrackerConfig(min_hits=1)


def follow(tracker, frames):
    """Track ids of each frame's rows."""
    return [tracker.update(frame).segments['track_id'].tolist() for frame in frames]


def times(n, rate=10.0, start=0.0):
    return (start + np.arange(n) / rate).tolist()


@pytest.mark.parametrize('speed', [
    0,   # standing still
    4,   # masks overlap
    18,  # masks hardly overlap at first: the boxes are near
    24,  # more than its own width: only near, then expected there
])
def test_an_id_lasts_under_motion(speed):
    frames = [make_frame(t, Disc(15 + speed * i)) for i, t in enumerate(times(7))]
    assert follow(Tracker(EAGER), frames) == [[1]] * 7


def test_a_shrinking_and_growing_thing_keeps_its_id():
    frames = [make_frame(i / 10, Disc(50, radius=r)) for i, r in enumerate([20, 14, 9, 6, 9, 14])]
    assert follow(Tracker(EAGER), frames) == [[1]] * 6


def test_order_of_rows_does_not_matter():
    frames = [make_frame(0.0, Disc(40), Disc(150)), make_frame(0.1, Disc(150), Disc(40))]
    assert follow(Tracker(EAGER), frames) == [[1, 2], [2, 1]]


def test_crossing_things_are_told_apart_by_embedding():
    # Painted by depth: the red one hides the blue one where they meet.
    frames = [make_frame(t, Disc(170 - 14 * i, embedding=BLUE), Disc(30 + 14 * i, embedding=RED))
              for i, t in enumerate(times(11))]
    ids = follow(Tracker(EAGER), frames)
    assert ids[0] == ids[-1] == [1, 2]
    assert [1] not in ids, 'the one left in view is the red one'


def test_a_hidden_thing_is_expected_where_it_was_going():
    # Twins: one stands where the other went out of sight, which goes on at 150 px/s.
    frames = [make_frame(t, Disc(20 + 150 * t)) for t in times(5)]
    frames += [make_frame(t) for t in times(3, start=0.5)]
    frames += [make_frame(0.8, Disc(20 + 150 * 0.8), Disc(20 + 150 * 0.4))]
    assert follow(Tracker(EAGER), frames)[-1][0] == 1


def test_a_stray_cell_that_spoils_the_box_does_not_spoil_the_mask():
    clean, spoilt = (make_frame(t, Disc(30), embedding_dim=0) for t in times(2))
    spoilt.segment_map[50, 190] = 1
    spoilt.segments['bbox_w'] = 190 - spoilt.segments['bbox_x'] + 1
    assert follow(Tracker(EAGER), [clean, spoilt]) == [[1], [1]]


def test_twins_are_told_apart_by_overlap():
    frames = [make_frame(t, Disc(60 + 2 * i), Disc(84 + 2 * i)) for i, t in enumerate(times(8))]
    assert follow(Tracker(EAGER), frames) == [[1, 2]] * 8


def test_embeddings_decide_where_overlap_cannot():
    config = TrackerConfig(min_hits=1, iou_weight=0)
    frames = [make_frame(0.0, Disc(30, embedding=RED), Disc(60, embedding=BLUE)),
              make_frame(0.1, Disc(30, embedding=BLUE), Disc(60, embedding=RED))]
    assert follow(Tracker(config), frames) == [[1, 2], [2, 1]]


def test_embeddings_may_have_any_length():
    frames = [make_frame(i / 10, Disc(50, embedding=(scale, 0.1 * scale, 0)))
              for i, scale in enumerate([1, 100, 0.01, 7])]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


def test_embeddings_may_drift():
    frames = [make_frame(i / 10, Disc(50, embedding=(np.cos(turn), np.sin(turn), 0)))
              for i, turn in enumerate(np.radians(range(0, 91, 10)))]
    config = TrackerConfig(min_hits=1, embedding_weight=2)
    assert follow(Tracker(config), frames) == [[1]] * 10


@pytest.mark.parametrize('embedding', [
    (0.0, 0.0, 0.0),        # a model that says nothing
    (np.nan, np.inf, 0.0),  # half-precision overflow
])
def test_useless_embeddings_leave_overlap(embedding):
    config = TrackerConfig(min_hits=1, gate=0.9)
    frames = [make_frame(t, Disc(50 + i, embedding=embedding)) for i, t in enumerate(times(4))]
    assert follow(Tracker(config), frames) == [[1]] * 4


def test_without_embeddings_overlap_is_all():
    frames = [make_frame(t, Disc(50 + 3 * i), embedding_dim=0) for i, t in enumerate(times(4))]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


def test_another_class_is_another_thing():
    frames = [make_frame(0.0, Disc(50, class_id=CAR)), make_frame(0.1, Disc(50, class_id=PERSON))]
    assert follow(Tracker(EAGER), frames) == [[1], [2]]


@pytest.mark.parametrize('gate', [0.5, 1.0])  # a wide gate is for poor overlap, not for jumps
def test_a_thing_far_away_is_another_thing(gate):
    frames = [make_frame(0.0, Disc(20)), make_frame(0.1, Disc(180))]
    assert follow(Tracker(TrackerConfig(min_hits=1, gate=gate)), frames) == [[1], [2]]


def test_no_good_pair_is_given_up_for_two_poor_ones():
    frames = [make_frame(0.0, Disc(50), Disc(74)), make_frame(0.1, Disc(74), Disc(98))]
    assert follow(Tracker(EAGER), frames)[1][0] == 2


@pytest.mark.parametrize(('hidden_s', 'expected'), [
    (0.3, [1]),  # within max_age: found again
    (1.2, [2]),  # later: a new thing
])
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
    tracker = Tracker(TrackerConfig(min_hits=3))
    frames = [make_frame(0.0, Disc(50)), make_frame(0.1), make_frame(0.2, Disc(50))]
    assert follow(tracker, frames) == [[1], [], [2]]


def test_empty_frames_age_tracks_and_the_counts_tell():
    tracker = Tracker(TrackerConfig(min_hits=2, max_age=0.25))
    counts = []
    for t, discs in [(0.0, [Disc(50)]), (0.1, [Disc(50)]), (0.2, []), (0.3, []), (0.4, [])]:
        tracker.update(make_frame(t, *discs))
        counts.append(dataclasses.astuple(tracker.stats))
    # active, new, coasting, lost
    assert counts == [(0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0), (0, 0, 1, 0), (0, 0, 0, 1)]


def test_age_counts_images_in_which_a_thing_was_hidden():
    tracker = Tracker(EAGER)
    frames = [make_frame(0.0, Disc(50)), make_frame(0.1), make_frame(0.2, Disc(50))]
    assert [tracker.update(f).segments['age'].tolist() for f in frames] == [[1], [], [3]]


def test_stamps_going_back_start_anew_with_fresh_ids():
    frames = [make_frame(5.0, Disc(50)), make_frame(0.0, Disc(50)), make_frame(0.1, Disc(50))]
    assert follow(Tracker(EAGER), frames) == [[1], [2], [2]]


def test_the_same_stamp_twice_is_no_motion():
    frames = [make_frame(t, Disc(x)) for t, x in [(0.0, 50), (0.0, 54), (0.1, 54), (0.2, 54)]]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


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
    frames = [make_frame(t, Disc(50 + i % 2, radius=0), Disc(90, radius=0))
              for i, t in enumerate(times(4))]
    assert frames[0].segments['area'].tolist() == [1, 1]
    assert follow(Tracker(EAGER), frames)[0::2] == [[1, 2]] * 2


def test_stuff_is_left_alone():
    frame = make_frame(0.0, Disc(50, class_id=ROAD, is_thing=False), Disc(150))
    frame.segments['track_id'], frame.segments['state'], frame.segments['age'] = 7, 3, 9
    rows = Tracker(EAGER).update(frame).segments
    assert rows[['track_id', 'state', 'age']].tolist() == [
        (0, TrackState.UNTRACKED, 0), (1, TrackState.CONFIRMED, 1)]


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
    frames = [make_frame(0.0, Disc(150)), make_frame(0.1, Disc(152)),
              make_frame(0.2, Disc(308, y=100, radius=20), size=(200, 400)),
              make_frame(0.3, Disc(312, y=100, radius=20), size=(200, 400))]
    assert follow(Tracker(EAGER), frames) == [[1]] * 4


def test_speed_fits_another_image_size():
    frames = [make_frame(t, Disc(20 + 150 * t)) for t in times(3)]
    frames += [make_frame(t, Disc(2 * (20 + 150 * t), y=100, radius=20), size=(200, 400))
               for t in times(3, start=0.8)]
    assert follow(Tracker(EAGER), frames) == [[1]] * 6


def test_another_embedding_size_is_another_model():
    frames = [make_frame(0.0, Disc(50)), make_frame(0.1, Disc(50), embedding_dim=2)]
    assert follow(Tracker(EAGER), frames) == [[1], [2]]


def test_coarse_maps_track_as_well():
    frames = [make_frame(t, Disc(30 + 8 * i), Disc(60 + 8 * i), stride=4)
              for i, t in enumerate(times(8))]
    assert follow(Tracker(EAGER), frames) == [[1, 2]] * 8


@pytest.mark.parametrize(('field', 'value'), [
    ('max_age', 0.0),               # no track would outlive its image
    ('max_age', float('nan')),
    ('min_hits', 0),
    ('embedding_weight', -1.0),
    ('iou_weight', float('inf')),
    ('gate', 0.0),                  # nothing would match
    ('gate', 1.5),
])
def test_bad_settings_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf'^tracker\.{field} must be .*got '):
        TrackerConfig(**{field: value})


def test_some_distance_must_count():
    with pytest.raises(ValueError, match='must not both be 0'):
        TrackerConfig(embedding_weight=0, iou_weight=0)
