# SPDX-License-Identifier: Apache-2.0
"""STQ against its definition, with masks over whole clips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_clips import (
    CAR,
    LABELS,
    PERSON,
    ROAD,
    SKY,
    THINGS,
    frame,
    is_crowd,
    random_clip,
    score,
    segments,
)

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.metrics.video import VideoScores


def slow_association(clips):
    """Return (2, C): sum of the association quality of true tracks, and their number."""
    sums = np.zeros((2, len(LABELS)))
    for clip in clips:
        maps = [np.stack(x) for x in zip(*clip, strict=True)]
        gt, pred = (
            {key: tube for key, tube in segments(*side).items() if key[0] in THINGS}
            for side in (maps[:2], maps[2:])
        )
        crowd = np.zeros(maps[0].shape, bool)
        for key, tube in gt.items():
            crowd |= tube & is_crowd(key)
        for key, tube in gt.items():
            if not is_crowd(key):
                sums[1, key[0]] += 1
                for pred_tube in pred.values():
                    both = (tube & pred_tube).sum()
                    sums[0, key[0]] += (
                        both / tube.sum() * both / (tube | (pred_tube & ~crowd)).sum()
                    )
    return sums


def slow_iou(clips):
    iou = []
    for c in range(len(LABELS)):
        both = union = 0
        for clip in clips:
            for gt, _, pred, _ in clip:
                both += ((gt == c) & (pred == c)).sum()
                union += (((gt == c) | (pred == c)) & (gt != VOID_ID)).sum()
        iou.append(both / union if union else np.nan)
    return np.array(iou)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_it_equals_its_definition(seeds):
    clips = [random_clip(seed) for seed in seeds]
    metric = score(VideoScores(LABELS), *clips)
    association, tracks = slow_association(clips)
    np.testing.assert_allclose(metric.stq.association, association)
    np.testing.assert_array_equal(metric.stq.tracks, tracks)
    result, iou = metric.compute(), slow_iou(clips)
    np.testing.assert_allclose([c['sq'] for c in result.per_class], 100 * iou)
    if tracks.any():
        aq, sq = association.sum() / tracks.sum(), np.nanmean(iou)
        got = result.summary()
        assert [got[name] for name in ('aq', 'sq', 'stq')] == pytest.approx(
            [100 * aq, 100 * sq, 100 * np.sqrt(aq * sq)]
        )
        assert result.things['sq'] == pytest.approx(100 * np.nanmean(iou[[CAR, PERSON]]))


def aq(*frames):
    return score(VideoScores(LABELS), [(*gt, *pred) for gt, pred in frames]).compute().all['aq']


@pytest.mark.parametrize(
    ('frames', 'expected'),
    [
        # two ids that cover half of the track's frames each: IoU 1/2 for both
        ([([(CAR, 1, 10)], [(CAR, 5, 10)]), ([(CAR, 1, 10)], [(CAR, 6, 10)])], 50),
        # the class need not agree, and a change of class is a change of track
        ([([(CAR, 1, 10)], [(PERSON, 5, 10)])], 100),
        ([([(CAR, 1, 10)], [(CAR, 5, 10)]), ([(CAR, 1, 10)], [(PERSON, 5, 10)])], 50),
        # tracks of any size have the same weight; a missed one has 0
        ([([(CAR, 1, 9), (PERSON, 1, 1)], [(CAR, 5, 9), (ROAD, 0, 1)])], 50),
        # pixels predicted on stuff or void make the track larger, those on a crowd do not
        ([([(CAR, 1, 10), (ROAD, 0, 10)], [(CAR, 5, 20)])], 50),
        ([([(CAR, 1, 10), (VOID_ID, 0, 10)], [(CAR, 5, 20)])], 50),
        ([([(CAR, 1, 10), (CAR, 0, 10)], [(CAR, 5, 20)])], 100),
        ([([(CAR, 1, 10), (PERSON, 0, 10)], [(CAR, 5, 20)])], 100),
        # predicted things without a track id count as one track
        ([([(CAR, 1, 10), (CAR, 2, 10)], [(CAR, 0, 20)])], 50),
    ],
)
def test_rules_of_association(frames, expected):
    assert aq(*[(frame(*gt), frame(*pred)) for gt, pred in frames]) == pytest.approx(expected)


def test_stuff_has_no_association_and_void_is_no_class():
    clip = [(*frame((SKY, 3, 10), (ROAD, 0, 10)), *frame((SKY, 0, 10), (VOID_ID, 0, 10)))]
    scores = score(VideoScores(LABELS), clip).compute().summary()
    assert scores['sq'] == 50
    assert np.isnan([scores['aq'], scores['stq']]).all()
