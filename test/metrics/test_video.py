# SPDX-License-Identifier: Apache-2.0
"""All video metrics together: published figures, invariants and reports."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_clips import CAR, LABELS, PERSON, ROAD, SKY, THINGS, frame, random_clip, score, segments

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import class_of, join, measure_frame, track_of

SEG_TRACK = Path(__file__).parents[3] / 'shared/data/metrics/seg_track'
seeds = st.integers(0, 2**32 - 1)


def measure(*clips):
    return score(VideoScores(LABELS), *clips)


def assert_same(a, b):
    """Check that two sets of metrics agree; sums may differ in their last digits."""
    assert (a.frames, a.tracks.clips) == (b.frames, b.tracks.clips)
    assert a.compute().switches == b.compute().switches
    for x, y in zip(rows(a), rows(b), strict=True):
        assert x == pytest.approx(y, nan_ok=True)


def rows(metric):
    result = metric.compute()
    return [result.all, result.things, result.stuff, *result.per_class]


@pytest.mark.skipif(not SEG_TRACK.is_dir(), reason='needs shared/data next to the checkout')
def test_published_figures():
    """STQ follows its authors' rules, where a crowd is a track; the rest is TrackEval's."""
    rle = pytest.importorskip('pycocotools.mask')
    names = 'pedestrian rider car truck bus train motorcycle bicycle'.split()
    labels = LabelSet(
        (
            Label('background', False, (0, 0, 0), 0),
            *(Label(name, True, (0, 0, i), i) for i, name in enumerate(names, 1)),
        )
    )

    def maps(entry):
        class_map, track_map = np.zeros((1280, 720), np.uint8), np.zeros((1280, 720), np.int32)
        for label in entry['labels']:
            mask = rle.decode({**label['rle'], 'counts': label['rle']['counts'].encode()})
            places = np.flatnonzero(mask.T)  # decoded masks are column-major
            class_map.flat[places] = names.index(label['category']) + 1
            track_map.flat[places] = int(label['id']) + 1  # track 0 of the file is no crowd
        return class_map, track_map

    gt, pred = (
        json.loads((SEG_TRACK / f'seg_track_{name}.json').read_text())
        for name in ('sample', 'preds')
    )
    metric = VideoScores(labels)
    for pair in zip(gt, pred, strict=True):
        metric.update(measure_frame(*maps(pair[0]), *maps(pair[1]), labels))
    result = metric.compute()
    scores = result.summary()
    assert round(scores['stq'] / 100, 6) == 0.490532
    assert round(scores['aq'] / 100, 6) == 0.519097
    assert round(scores['sq'] / 100, 6) == 0.463539

    names = ('hota', 'deta', 'assa', 'mota', 'idf1')
    for scores, *expected, switches in (
        (result.all, 61.404463, 58.056878, 65.557965, 63.348416, 74.062969, 25),
        (result.per_class[3], 66.960045, 66.936174, 67.521536, 76.434841, 80.665281, 23),
        (result.per_class[1], 21.145253, 10.583036, 42.272541, -420.0, 25.714286, 0),
        (result.per_class[7], 11.118522, 11.118522, 11.118522, 14.141414, 27.350427, 0),
    ):
        assert [scores[name] for name in names] == pytest.approx(expected, abs=1e-6)
        assert scores['id_switches'] == switches


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_the_truth_scores_100(seed):
    clip = [(gt_class, gt_track) * 2 for gt_class, gt_track, *_ in random_clip(seed)]
    result = measure(clip).compute()
    tracked = {
        c
        for gt_class, gt_track, *_ in clip
        for c, t in segments(gt_class, gt_track)
        if c in THINGS and t
    }
    for group, present in (
        (result.all, True),
        (result.things, bool(tracked)),
        *((result.per_class[c], c in tracked) for c in THINGS),
    ):
        for name in ('stq', 'aq', 'idf1', 'mota', 'hota', 'deta', 'assa'):
            assert group[name] == pytest.approx(100) or not tracked or not present
        assert group['vpq_1'] == pytest.approx(100) or not present
        assert group['sq'] == pytest.approx(100) or np.isnan(group['sq'])
        assert group['id_switches'] == 0


@given(seeds)
@settings(max_examples=15, deadline=None, derandomize=True)  # ids may break ties
def test_ids_of_tracks_do_not_matter(seed):
    clip, rng = random_clip(seed), np.random.default_rng(seed)
    gt_ids, pred_ids = (
        np.append(0, rng.choice(2**32 - 1, 9, replace=False) + 1) for _ in range(2)
    )
    renamed = [(a, gt_ids[b], c, pred_ids[d]) for a, b, c, d in clip]
    a, b = measure(clip), measure(renamed)
    for x, y in zip(rows(a), rows(b), strict=True):
        assert x == pytest.approx(y, nan_ok=True)
    assert [s.frame_index for s in a.tracks.switches] == [s.frame_index for s in b.tracks.switches]


@given(st.lists(seeds, min_size=2, max_size=4), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_merged_shards_equal_a_single_run(clip_seeds, cut):
    clips = [random_clip(seed) for seed in clip_seeds]
    merged = measure(*clips[:cut])
    merged.merge(measure(*clips[cut:]))
    assert_same(merged, measure(*clips))


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_compute_includes_the_open_clip_and_leaves_it_open(seed):
    clip = random_clip(seed, frames=6)
    expected = measure(clip)
    metric = VideoScores(LABELS)
    for i, maps in enumerate(clip):
        metric.update(measure_frame(*maps, LABELS))
        if i == 2:
            assert metric.compute().all == pytest.approx(
                measure(clip[:3]).compute().all, nan_ok=True
            )
            assert metric.clip_is_open
    metric.end_clip()
    assert_same(metric, expected)


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_void_over_a_perfect_prediction_never_helps(seed):
    rng = np.random.default_rng(seed)
    clip = [(gt_class, gt_track) * 2 for gt_class, gt_track, *_ in random_clip(seed)]
    before = measure(clip).compute().all
    holes = []
    for gt_class, gt_track, *_ in clip:
        pred_class = gt_class.copy()
        y, x = rng.integers(0, [12, 16])
        pred_class[y : y + 8, x : x + 8] = VOID_ID
        holes.append((gt_class, gt_track, pred_class, gt_track))
    after = measure(holes).compute().all
    for name, value in after.items():
        if name != 'id_switches' and not np.isnan(value):
            assert value <= before[name] + 1e-9


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_removing_a_track_never_adds_matches(seed):
    clip = random_clip(seed)
    before = measure(clip)
    for key in {key for maps in clip for key in segments(*maps[2:]) if key[0] in THINGS}:
        without = [
            (
                *maps[:2],
                np.where((maps[2] == key[0]) & (maps[3] == key[1]), VOID_ID, maps[2]),
                maps[3],
            )
            for maps in clip
        ]
        after = measure(without)
        assert (after.stq.association <= before.stq.association + 1e-9).all()
        assert (after.tracks.matches <= before.tracks.matches).all()
        assert (after.tracks.id_matches <= before.tracks.id_matches).all()
        for a, b in zip(
            after.vpq.every_frame.quality, before.vpq.every_frame.quality, strict=True
        ):
            assert (a.counts[0] <= b.counts[0]).all() and (a.iou_sum <= b.iou_sum + 1e-9).all()


def test_overlaps_are_counted_by_segment():
    clip = random_clip(5, frames=4)
    overlaps = [measure_frame(*maps, LABELS) for maps in clip]
    for overlap, maps in [
        *zip(overlaps, [[m] for m in clip], strict=True),
        (join(overlaps, LABELS), clip),
    ]:
        gt_class, gt_track, pred_class, pred_track = map(np.stack, zip(*maps, strict=True))
        gt, pred = segments(gt_class, gt_track), segments(pred_class, pred_track)
        assert list(zip(class_of(overlap.gt_ids), track_of(overlap.gt_ids), strict=True)) == list(
            gt
        )
        assert list(zip(overlap.pred_class, track_of(overlap.pred_ids), strict=True)) == list(pred)
        expected = [
            [(a & b).sum() for b in (pred_class == VOID_ID, *pred.values())]
            for a in (gt_class == VOID_ID, *gt.values())
        ]
        np.testing.assert_array_equal(overlap.shared, expected)
        assert overlap.crowd.tolist() == [c in THINGS and t == 0 for c, t in gt]


def test_no_pixels_are_kept():
    metric = VideoScores(LABELS)
    gt_class, gt_track = np.full((512, 512), CAR, np.uint8), np.ones((512, 512), np.int32)
    for _ in range(50):
        metric.update(measure_frame(gt_class, gt_track, gt_class, gt_track, LABELS))

    def count_values(value):
        if isinstance(value, np.ndarray):
            return value.size
        parts = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, (list, tuple)) or hasattr(value, 'popleft')
            else vars(value).values()
            if hasattr(value, '__dict__')
            else ()
        )
        return sum(map(count_values, parts))

    assert count_values([metric.stq, metric.vpq, metric.tracks]) < 2000
    metric.end_clip()
    assert not metric.tracks.frames and not metric.stq.shared and not metric.vpq.sampled.recent


def example():
    """Return a clip of a car with two predicted ids, and sky of which half is missed."""
    truth = frame((CAR, 1, 10), (SKY, 0, 10))
    return [(*truth, *frame((CAR, track, 10), (SKY, 0, 5), (ROAD, 0, 5))) for track in (5, 6)]


def test_json_and_tables_agree():
    result = measure(example()).compute()
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert (document['frames'], document['clips']) == (2, 1)
    car, road, person, sky = document['per_class']
    assert car['name'] == 'car' and car['category_id'] == 26 and car['is_thing']
    assert (car['aq'], car['sq'], car['stq']) == (50, 100, pytest.approx(50 * 2**0.5))
    assert (car['vpq_1'], car['vpq_2'], car['vpq_3'], car['vpq_k0']) == (100, 0, None, 100)
    assert (car['mota'], car['idf1'], car['id_switches']) == (50, 50, 1)
    assert (car['deta'], car['assa'], car['hota']) == (
        100,
        pytest.approx(50),
        pytest.approx(50 * 2**0.5),
    )
    assert (sky['sq'], sky['hota'], sky['aq'], sky['id_switches']) == (50, None, None, None)
    assert document['all']['sq'] == 50 and document['stuff']['sq'] == 25 and road['sq'] == 0
    assert {
        v for k, v in person.items() if k not in ('name', 'category_id', 'is_thing', 'id_switches')
    } == {None}
    assert result.summary()['id_switches'] == 1
    assert result.format_table().splitlines()[2:4] == [
        'All       |  50.0  50.0  50.0  16.7  33.3   0.0     -     -  70.7 100.0  50.0  50.0  50.0'
        '     1',
        'Things    |  70.7  50.0 100.0  50.0 100.0   0.0     -     -  70.7 100.0  50.0  50.0  50.0'
        '     1',
    ]
    assert [line.split('|')[0].strip() for line in result.format_classes().splitlines()[2:]] == [
        'car',
        'road',
        'sky',
    ]


def test_scores_without_frames_are_null():
    result = VideoScores(LABELS).compute()
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))['all']['stq'] is None
    assert result.format_table().count(' -') > 20 and result.format_classes()


def maps(**changes):
    class_map, track_map = frame((CAR, 1, 4), (VOID_ID, 9, 4))
    return {
        'gt_class_map': class_map,
        'gt_track_map': track_map,
        'pred_class_map': class_map,
        'pred_track_map': track_map,
        **changes,
    }


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'pred_track_map': np.ones((2, 4), int)},
            r'same size, got \(1, 8\), \(1, 8\), .*\(2, 4\)',
        ),
        (
            {'pred_class_map': np.full((1, 8), 4)},
            r'prediction: class id 4, expected 0 to 3 or 255',
        ),
        ({'gt_class_map': np.full((1, 8), -1)}, r'ground truth: class id -1'),
        ({'gt_track_map': np.full((1, 8), -2)}, r'truth: track id -2, expected 0 to 4294967295'),
        ({'pred_track_map': np.full((1, 8), 2**32)}, r'prediction: track id 4294967296'),
    ],
)
def test_bad_input_is_refused_and_nothing_is_counted(changes, message):
    metric = VideoScores(LABELS)
    with pytest.raises(ValueError, match=message):
        metric.update(measure_frame(**maps(**changes), labels=LABELS))
    assert metric.frames == 0 and not metric.clip_is_open


def test_all_types_of_ids_and_maps_without_pixels_are_read():
    metric = VideoScores(LABELS)
    for dtype in (np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        typed = {name: value.astype(dtype) for name, value in maps().items()}
        metric.update(measure_frame(**typed, labels=LABELS))
    metric.update(measure_frame(*np.zeros((4, 0, 5), np.uint8), LABELS))
    assert metric.compute().all['hota'] == pytest.approx(100)


def test_only_closed_clips_of_the_same_labels_merge():
    open_clip = VideoScores(LABELS)
    open_clip.update(measure_frame(**maps(), labels=LABELS))
    for pair in ((VideoScores(LABELS), open_clip), (open_clip, VideoScores(LABELS))):
        with pytest.raises(ValueError, match='only closed clips can be merged'):
            pair[0].merge(pair[1])
    with pytest.raises(ValueError, match='same label set'):
        VideoScores(LABELS).merge(VideoScores(LabelSet(LABELS.labels[:2])))
    assert PERSON == 2  # the order that the tables above rely on
