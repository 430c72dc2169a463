# SPDX-License-Identifier: Apache-2.0
"""Comparison of trackers on recorded clips."""

import numpy as np
import pytest
from disc_frames import Disc, make_frame
from recorded_clips import CAR, LABELS, MOVING, car, clip_of

from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import measure_frame
from panoptic_ros.tracking import Tracker, TrackerConfig
from panoptic_training.tracking.study import (
    TRACKERS,
    count,
    score,
    summary,
    things_per_frame,
    with_tracks,
)

EAGER = TrackerConfig(min_hits=1)


def test_scores_equal_those_of_maps_painted_with_track_ids():
    rng = np.random.default_rng(0)
    gt = [
        make_frame(t / 20, *(Disc(20 + 30 * i + 3 * t, class_id=CAR + i % 2) for i in range(5)))
        for t in range(6)
    ]
    frames = [
        make_frame(
            t / 20,
            *(
                Disc(20 + 30 * i + 3 * t + rng.integers(-4, 5), class_id=int(rng.integers(1, 3)))
                for i in range(5)
            ),
        )
        for t in range(6)
    ]
    config = TrackerConfig(min_hits=1, smooth=True, class_cost=0.1, new_track_threshold=0.5)
    for frame in frames:  # some start no track: all of id 0 are one
        frame.segments['score'] = rng.uniform(0.3, 1, len(frame.segments))
    clip = clip_of(frames, gt)
    expected, tracker = VideoScores(LABELS), Tracker(config)
    for frame, classes, tracks in zip(frames, clip.class_maps, clip.track_maps, strict=True):
        out = tracker.update(frame)
        ids = out.paint(out.segments['track_id'].astype(np.int64), 0)
        expected.update(measure_frame(classes, tracks, out.semantic_map, ids, LABELS))
    expected.end_clip()
    got = summary([score(count(clip, LABELS), LABELS, config, 1)], LABELS)
    assert got == pytest.approx(expected.compute().summary(), nan_ok=True)


def test_segments_of_one_class_and_id_are_counted_as_one():
    frame = make_frame(0.0, car(30), car(100))
    overlaps = count(clip_of([frame]), LABELS).overlaps[0]
    joined = with_tracks(overlaps, frame)  # untracked: both have id 0
    assert len(overlaps.pred_ids) == 2 and len(joined.pred_ids) == 1
    np.testing.assert_array_equal(joined.shared.sum(axis=1), overlaps.shared.sum(axis=1))
    assert joined.pred_area.tolist() == [overlaps.pred_area.sum()]


@pytest.mark.parametrize('step', [1, 2, 5])
@pytest.mark.parametrize('name', TRACKERS)
def test_each_tracker_follows_what_is_easy(name, step):
    scores = summary([score(count(clip_of(MOVING), LABELS), LABELS, TRACKERS[name], step)], LABELS)
    assert scores['id_switches'] == 0
    assert scores['idf1'] == pytest.approx(100)


def test_ground_truth_ids_are_the_upper_bound():
    # The two swap places, one is found in part, and one segment shows nothing.
    gt = [
        make_frame(t / 20, car(50 if t < 2 else 150), car(150 if t < 2 else 50), car(100))
        for t in range(4)
    ]
    frames = [make_frame(t / 20, car(50), car(150), car(106), car(20, radius=4)) for t in range(4)]
    clip = count(clip_of(frames, gt), LABELS)
    best, ours = (summary([score(clip, LABELS, config, 1)], LABELS) for config in (None, EAGER))
    assert best['id_switches'] == 0 < ours['id_switches']
    assert best['assa'] == pytest.approx(100)
    assert best['stq'] > ours['stq'] and best['deta'] == pytest.approx(ours['deta'])


def test_clips_are_scored_together_without_tracks_across_them():
    parts = [score(count(clip_of(MOVING), LABELS), LABELS, EAGER, 1) for _ in range(2)]
    both = summary(parts, LABELS)
    assert both['idf1'] == pytest.approx(100)
    assert both['id_switches'] == 0


def test_things_are_counted_in_the_ground_truth():
    frames = [make_frame(0.0, car(50)), make_frame(0.1, car(50), car(100), car(150))]
    assert things_per_frame(count(clip_of(frames), LABELS)) == 2
