# SPDX-License-Identifier: Apache-2.0
"""VPQ against its definition: windows of frames as volumes, tube by tube."""

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
    frame,
    is_crowd,
    random_clip,
    score,
    segments,
)

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.metrics.video import VideoScores


def slow_counts(clips, length, every):
    """Return (4, C): IoU sums, true positives, false positives, false negatives of all windows."""
    counts = np.zeros((4, len(LABELS)))
    for clip in clips:
        frames = clip[::every]
        for start in range(len(frames) - length + 1):
            maps = [np.stack(x) for x in zip(*frames[start : start + length], strict=True)]
            gt, pred, void = segments(*maps[:2]), segments(*maps[2:]), maps[0] == VOID_ID
            matched = set()
            for p, pred_tube in pred.items():
                for g, gt_tube in gt.items():
                    iou = (pred_tube & gt_tube).sum() / (
                        (pred_tube | gt_tube) & ~(pred_tube & void)
                    ).sum()
                    if p[0] == g[0] and iou > 0.5 and not is_crowd(g):
                        counts[:2, p[0]] += iou, 1
                        matched |= {('pred', p), ('gt', g)}
                ignored = void.copy()
                for g, gt_tube in gt.items():
                    if is_crowd(g) and g[0] == p[0]:
                        ignored |= gt_tube
                is_ignored = (pred_tube & ignored).sum() > pred_tube.sum() / 2
                counts[2, p[0]] += ('pred', p) not in matched and not is_ignored
            for g in gt:
                counts[3, g[0]] += ('gt', g) not in matched and not is_crowd(g)
    return counts


def slow_vpq(clips, length, every):
    """Return the VPQ of each class, (C,) percent."""
    iou, tp, fp, fn = slow_counts(clips, length, every)
    with np.errstate(invalid='ignore'):
        return 100 * iou / (tp + fp / 2 + fn / 2)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=2))
@settings(max_examples=25, deadline=None)
def test_it_equals_its_definition(seeds):
    clips = [random_clip(seed) for seed in seeds]
    vpq = score(VideoScores(LABELS), *clips).vpq
    for windows, every in ((vpq.every_frame, 1), (vpq.sampled, 5)):
        for n, quality in enumerate(windows.quality, 1):
            np.testing.assert_allclose(
                [quality.iou_sum, *quality.counts], slow_counts(clips, n, every)
            )


def test_the_random_clips_contain_every_case():
    counts = sum(slow_counts([random_clip(seed)], 2, 1) for seed in range(30))
    assert (counts[1:] > 0).all() and (counts[1:, [CAR, PERSON]] > 50).all()


def test_scores_are_named_by_window():
    clips = [random_clip(3, frames=16), random_clip(4, frames=7)]
    scores = score(VideoScores(LABELS), *clips).compute().summary()
    dense = [np.nanmean(slow_vpq(clips, n, 1)) for n in (1, 2, 3, 4)]
    sampled = [np.nanmean(slow_vpq(clips, n, 5)) for n in (1, 2, 3, 4)]
    assert [scores[f'vpq_{n}'] for n in (1, 2, 3, 4)] == pytest.approx(dense)
    assert [scores[f'vpq_k{k}'] for k in (0, 5, 10, 15)] == pytest.approx(sampled)
    assert scores['vpq'] == pytest.approx(np.mean(dense))
    assert scores['vpq_sampled'] == pytest.approx(np.mean(sampled))


def test_windows_longer_than_every_clip_are_left_out_of_the_mean():
    clips = [random_clip(1, frames=2), random_clip(2, frames=2)]
    scores = score(VideoScores(LABELS), *clips).compute().summary()
    assert np.isnan([scores['vpq_3'], scores['vpq_4'], scores['vpq_k5']]).all()
    assert scores['vpq'] == pytest.approx((scores['vpq_1'] + scores['vpq_2']) / 2)


@pytest.mark.parametrize(
    ('second', 'expected'),
    [
        # the same car twice: one tube per window
        ((CAR, 5), [(2, 0, 0), (1, 0, 0)]),
        # another id: in the window of two, each covers half of the true tube, which is no match
        ((CAR, 6), [(2, 0, 0), (0, 2, 1)]),
        # the same id with another class is another tube
        ((PERSON, 5), [(1, 1, 1), (0, 2, 1)]),
    ],
)
def test_a_change_of_id_breaks_longer_tubes(second, expected):
    truth, first = frame((CAR, 1, 10), (ROAD, 0, 5)), frame((CAR, 5, 10), (ROAD, 0, 5))
    clip = [(*truth, *first), (*truth, *frame((*second, 10), (ROAD, 0, 5)))]
    windows = score(VideoScores(LABELS), clip).vpq.every_frame.quality[:2]
    assert [tuple(q.counts[:, [CAR, PERSON]].sum(axis=1)) for q in windows] == expected


def test_tubes_do_not_cross_clips():
    truth = frame((CAR, 1, 10), (SKY, 0, 5))
    windows = score(VideoScores(LABELS), *[[(*truth, *truth)]] * 5).vpq.every_frame.quality
    assert [int(q.counts.sum()) for q in windows] == [10, 0, 0, 0]
