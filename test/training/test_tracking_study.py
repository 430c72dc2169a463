# SPDX-License-Identifier: Apache-2.0
"""Trackers compared on recorded clips: what is kept on disk, and what is counted of it."""

import dataclasses
import math

import numpy as np
import pytest
from disc_frames import BLUE, RED, Disc, make_frame

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.tracking import Tracker, TrackerConfig
from panoptic_ros.tracking.config import RENAMED
from panoptic_training.tracking import recorded
from panoptic_training.tracking.retrieval import stability
from panoptic_training.tracking.study import (
    TRACKERS,
    count,
    score,
    summary,
    things_per_frame,
    with_tracks,
)
from panoptic_training.tracking.tune import SPACE, keys_of, search

LABELS = LabelSet(
    (
        Label('road', False, (0, 0, 0), 0),
        Label('car', True, (0, 0, 9), 1),
        Label('person', True, (9, 0, 0), 2),
    )
)
CAR, PERSON = 1, 2
EAGER = TrackerConfig(min_hits=1)


class Oracle:
    """A predictor that finds the things of a clip as they are, without the road."""

    def __init__(self, frames):
        self.frames = iter(frames)

    def predict(self, image, stamp_s):
        return dataclasses.replace(next(self.frames), stamp_s=stamp_s)


def clip_of(frames, truth=None):
    """A recorded clip; the truth is the discs of `truth`, numbered by their place."""
    truth = truth or frames
    class_maps = np.stack([np.where(f.segment_map > 0, f.semantic_map, 0) for f in truth])
    return recorded.RecordedClip(
        frames,
        class_maps.astype(np.uint8),
        np.stack([f.segment_map for f in truth]).astype(np.int32),
    )


def car(x, **kwargs):
    return Disc(x, class_id=CAR, **kwargs)


MOVING = [
    make_frame(t / 20, car(20 + t, embedding=RED), car(150, embedding=BLUE)) for t in range(8)
]


def test_a_clip_comes_back_from_disk_as_it_was_recorded(tmp_path):
    size = (32, 64)
    made = [make_frame(0.0, Disc(10 + t, y=15), size=size) for t in range(2)]
    empty = make_frame(0.0, size=size)
    path = tmp_path / 'deep' / 'clip.npz'
    frames = [*made, empty]
    assert list(recorded.record(Oracle(frames), 3, 3, path, size)) == [1, 2, 3]
    clip = recorded.load_clip(path)
    truth = [recorded.SyntheticClip(3, size).frame(i) for i in range(3)]
    assert [f.stamp_s for f in clip.frames] == [0.0, 0.05, 0.1]
    for got, expected in zip(clip.frames, frames, strict=True):
        np.testing.assert_array_equal(got.segment_map, expected.segment_map)
        assert got.geometry == expected.geometry
        assert got.segments.dtype == expected.segments.dtype
        assert got.segments.tobytes() == expected.segments.tobytes()
    np.testing.assert_array_equal(clip.class_maps, [f.class_map for f in truth])
    np.testing.assert_array_equal(clip.track_maps, [f.track_map for f in truth])
    assert [p.name for p in path.parent.iterdir()] == ['clip.npz'], 'nothing is left beside it'


def test_a_recording_that_stops_half_way_leaves_no_file(tmp_path):
    path = tmp_path / 'clip.npz'
    recording = recorded.record(Oracle([make_frame(0.0, size=(32, 64))]), 3, 2, path, (32, 64))
    with pytest.raises(RuntimeError):
        list(recording)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 not quite', b'a: ['])
def test_a_broken_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / 'clip.npz'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'clip.npz is not a recorded clip; delete it'):
        recorded.load_clip(path)


def test_another_model_is_another_file(tmp_path):
    files = []
    for content in (b'one', b'two'):
        model = tmp_path / 'city.onnx'
        model.write_bytes(content)
        files.append(recorded.clip_file(tmp_path, model, 7, 60))
    assert files[0] != files[1] and files[0].name == 'seed7-60.npz'


@pytest.mark.parametrize('clips', [0, 1001])
def test_more_clips_than_seeds_are_refused(clips):
    with pytest.raises(ValueError, match=f'--clips must be 1 to 1000, got {clips}'):
        recorded.seeds_of('test', clips)


def test_scores_equal_those_of_maps_painted_with_track_ids():
    rng = np.random.default_rng(0)
    truth = [
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
    clip = clip_of(frames, truth)
    expected, tracker = VideoScores(LABELS), Tracker(config)
    for frame, classes, tracks in zip(frames, clip.class_maps, clip.track_maps, strict=True):
        out = tracker.update(frame)
        ids = out.paint(out.segments['track_id'].astype(np.int64), 0)
        expected.update(classes, tracks, out.semantic_map, ids)
    expected.end_clip()
    got = summary([score(count(clip, LABELS), LABELS, config, 1)], LABELS)
    assert got == pytest.approx(expected.result().summary(), nan_ok=True)


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


def test_ids_from_the_truth_are_the_best_there_are():
    # The two swap places, one is found in part, and one segment shows nothing.
    truth = [
        make_frame(t / 20, car(50 if t < 2 else 150), car(150 if t < 2 else 50), car(100))
        for t in range(4)
    ]
    frames = [make_frame(t / 20, car(50), car(150), car(106), car(20, radius=4)) for t in range(4)]
    clip = count(clip_of(frames, truth), LABELS)
    best, ours = (summary([score(clip, LABELS, config, 1)], LABELS) for config in (None, EAGER))
    assert best['id_switches'] == 0 < ours['id_switches']
    assert best['assa'] == pytest.approx(100)
    assert best['stq'] > ours['stq'] and best['deta'] == pytest.approx(ours['deta'])


def test_clips_are_scored_together_without_tracks_across_them():
    parts = [score(count(clip_of(MOVING), LABELS), LABELS, EAGER, 1) for _ in range(2)]
    both = summary(parts, LABELS)
    assert both['idf1'] == pytest.approx(100)
    assert both['id_switches'] == 0


def test_things_in_sight_are_counted_from_the_truth():
    frames = [make_frame(0.0, car(50)), make_frame(0.1, car(50), car(100), car(150))]
    assert things_per_frame(count(clip_of(frames), LABELS)) == 2


def test_stability_counts_how_often_the_nearest_is_the_same():
    # The two swap their embeddings after the third frame.
    frames = [
        make_frame(
            t / 20,
            car(50, embedding=RED if t < 3 else BLUE),
            car(150, embedding=BLUE if t < 3 else RED),
        )
        for t in range(6)
    ]
    clip = count(clip_of(frames), LABELS)
    assert dataclasses.astuple(stability([clip], 1)) == (1, 80.0, 50.0, 10)
    assert dataclasses.astuple(stability([clip], 3)) == (3, 0.0, 50.0, 6)


def test_stability_needs_something_to_be_mixed_up_with():
    alone = count(clip_of([make_frame(t / 20, car(50)) for t in range(3)]), LABELS)
    result = stability([alone], 1)
    assert result.pairs == 0 and math.isnan(result.nearest)


def test_each_tracker_is_searched_in_its_own_keys():
    assert keys_of(TRACKERS['ours']) == list(SPACE)
    assert not any('embedding' in key for key in keys_of(TRACKERS['without embeddings']))
    assert 'box_expansion' not in keys_of(TRACKERS['IoU only'])
    for low, high, factors in SPACE.values():
        assert low < high and (low > 0 or not factors)


def test_a_search_goes_on_where_it_was_stopped(tmp_path):
    pytest.importorskip('optuna')
    clips = [count(clip_of(MOVING), LABELS)]
    kept = tmp_path / 'trials' / 'tune.db'
    first = list(search(clips, LABELS, TRACKERS['IoU only'], kept, 2))
    assert len(first) == 2
    again = list(search(clips, LABELS, TRACKERS['IoU only'], kept, 3))
    assert len(again) == 3 and again[0] == again[1] == first[1]
    import optuna

    study = optuna.load_study(study_name='tracker', storage=f'sqlite:///{kept}')
    assert len(study.trials) == 3
    best, value = again[-1]
    assert value == study.best_value
    assert best.embedding_weight == 0
    assert math.isclose(best.match_threshold, study.best_params['match_threshold'], rel_tol=5e-3)


def test_a_study_under_earlier_names_is_continued(tmp_path):
    optuna = pytest.importorskip('optuna')
    kept = tmp_path / 'tune.db'
    storage = f'sqlite:///{kept}'
    study = optuna.create_study(storage=storage, study_name='tracker', direction='maximize')
    old_names = {new: old for old, new in RENAMED.items()}
    keys = {key: old_names.get(key, key) for key in keys_of(TRACKERS['IoU only'])}
    study.add_trial(
        optuna.create_trial(
            value=1000.0,
            params={old: SPACE[key][0] for key, old in keys.items()},
            distributions={
                old: optuna.distributions.FloatDistribution(low, high, log=log)
                for key, old in keys.items()
                for low, high, log in [SPACE[key]]
            },
        )
    )
    clips = [count(clip_of(MOVING), LABELS)]
    results = list(search(clips, LABELS, TRACKERS['IoU only'], kept, 2))
    best = dataclasses.replace(TRACKERS['IoU only'], **{key: SPACE[key][0] for key in keys})
    assert results == [(best, 1000.0)] * 2
    trials = optuna.load_study(study_name='tracker', storage=storage).trials
    assert [set(trial.params) for trial in trials] == [set(keys.values())] * 2
