# SPDX-License-Identifier: Apache-2.0
"""Counts of a replay: kept exactly, and those of several replays give the scores of all."""

import json

import pytest
from random_clips import random_clip
from tiny_model import LABELS

from panoptic_ros.replay.counts import counts_of, scores_of
from panoptic_ros.replay.scores import ReplayScores


def plain(scores: ReplayScores) -> dict:
    values = scores.to_dict()
    del values['video']['switches']
    return values


def test_counts_are_kept_exactly():
    scores = random_clip(ReplayScores(LABELS), 0)
    assert scores.video.compute().switches
    text = json.dumps(counts_of(scores), allow_nan=False)
    restored = scores_of(json.loads(text), 'counts.json')
    assert plain(restored) == plain(scores)
    assert json.dumps(counts_of(restored)) == text


def test_merged_counts_give_the_scores_of_all_clips():
    total, whole = ReplayScores(LABELS), ReplayScores(LABELS)
    for seed in range(4):
        total.merge(scores_of(counts_of(random_clip(ReplayScores(LABELS), seed)), 'counts.json'))
        random_clip(whole, seed)
    a, b = plain(total), plain(whole)
    assert a['frames'] == b['frames'] == 28 and a['video']['clips'] == 4
    for kind, key in (('panoptic', 'pq'), ('video', 'stq'), ('video', 'vpq'), ('video', 'hota')):
        assert a[kind]['all'][key] == pytest.approx(b[kind]['all'][key], rel=1e-12)
    assert a['video']['all']['id_switches'] == b['video']['all']['id_switches'] > 0
    assert a['video']['all']['mota'] == b['video']['all']['mota']


@pytest.mark.parametrize(
    'damage',
    [
        lambda counts: counts.pop('sums'),
        lambda counts: counts['sums'].pop('tracks'),
        lambda counts: counts['sums']['panoptic'].update(iou_sum=[1.0]),
        lambda counts: counts['sums']['panoptic'].update(iou_sum='x'),
        lambda counts: counts.update(labels=3),
        lambda counts: counts.update(images=None),
    ],
)
def test_damaged_counts_are_refused(damage):
    counts = counts_of(ReplayScores(LABELS))
    damage(counts)
    with pytest.raises(ValueError, match=r'counts\.json is damaged: .*replay the recording again'):
        scores_of(counts, 'counts.json')
