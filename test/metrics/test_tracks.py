# SPDX-License-Identifier: Apache-2.0
"""HOTA, MOTA and IDF1 against their definitions, class by class and clip by clip."""

from itertools import permutations

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
from panoptic_ros.metrics.tracks import ALPHAS, IdSwitch, assign_tracks
from panoptic_ros.metrics.video import VideoScores


def slow_similarities(clip, c):
    """Return the true and predicted tracks of a class that count, and their IoU, by frame."""
    frames = []
    for gt_class, gt_track, pred_class, pred_track in clip:
        void, iou = gt_class == VOID_ID, {}
        gt = {k: mask for k, mask in segments(gt_class, gt_track).items() if k[0] == c}
        pred = {k: mask for k, mask in segments(pred_class, pred_track).items() if k[0] == c}
        ignored = void.copy()
        for g in filter(is_crowd, gt):
            ignored |= gt[g]
        gt = {g: mask for g, mask in gt.items() if not is_crowd(g)}
        for p in list(pred):
            for g in gt:
                iou[g, p] = (gt[g] & pred[p]).sum() / (gt[g] | pred[p] & ~void).sum()
            found = any(iou[g, p] >= 0.5 for g in gt)
            if not found and (pred[p] & ignored).sum() > pred[p].sum() / 2:
                del pred[p]
        frames.append((list(gt), list(pred), iou))
    return frames


def assignments(rows, columns):
    """Yield every one-to-one assignment of rows to columns, as lists of pairs."""
    slots = list(columns) + [None] * len(rows)
    for chosen in set(permutations(slots, len(rows))):
        yield [(r, c) for r, c in zip(rows, chosen, strict=True) if c is not None]


def slow_hota(frames):
    """Return (19,) true positives and (19,) sum of association, by the paper's two steps."""
    gt_count, pred_count, potential = {}, {}, {}
    for gt, pred, iou in frames:
        for g in gt:
            gt_count[g] = gt_count.get(g, 0) + 1
        for p in pred:
            pred_count[p] = pred_count.get(p, 0) + 1
        for g in gt:
            for p in pred:
                either = sum(iou[g, q] for q in pred) + sum(iou[h, p] for h in gt) - iou[g, p]
                potential[g, p] = potential.get((g, p), 0) + (iou[g, p] / either if either else 0)
    matched = np.zeros(len(ALPHAS))
    counts = [{} for _ in ALPHAS]
    for gt, pred, iou in frames:

        def weight(pair, iou=iou):
            g, p = pair
            both = potential[g, p]
            return iou[pair] * both / (gt_count[g] + pred_count[p] - both)

        best = max(assignments(gt, pred), key=lambda pairs: sum(map(weight, pairs)))
        for a, alpha in enumerate(ALPHAS):
            for pair in best:
                if iou[pair] >= alpha - 1e-9:
                    matched[a] += 1
                    counts[a][pair] = counts[a].get(pair, 0) + 1
    association = [
        sum(n * n / (gt_count[g] + pred_count[p] - n) for (g, p), n in c.items()) for c in counts
    ]
    return matched, np.array(association)


def slow_idtp(frames):
    """Return the largest number of frames that a one-to-one mapping of tracks matches."""
    matches = {}
    for gt, pred, iou in frames:
        for g in gt:
            for p in pred:
                matches[g, p] = matches.get((g, p), 0) + (iou[g, p] >= 0.5)
    tracks = sorted({g for g, _ in matches}), sorted({p for _, p in matches})
    return max(sum(matches.get(pair, 0) for pair in pairs) for pairs in assignments(*tracks))


def slow_clear(frames):
    """Return matches and id switches; valid if no IoU is exactly one half."""
    matches, switches, last = 0, 0, {}
    for gt, pred, iou in frames:
        for g in gt:
            for p in pred:
                if iou[g, p] >= 0.5:
                    matches += 1
                    switches += last.get(g, p) != p
                    last[g] = p
    return matches, switches


def measure(*clips):
    return score(VideoScores(LABELS), *clips)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=2))
@settings(max_examples=25, deadline=None)
def test_it_equals_its_definitions(seeds):
    clips = [random_clip(seed) for seed in seeds]
    tracks = measure(*clips).tracks
    for c in THINGS:
        by_clip = [slow_similarities(clip, c) for clip in clips]
        assert tracks.gt[c] == sum(len(gt) for frames in by_clip for gt, _, _ in frames)
        assert tracks.pred[c] == sum(len(pred) for frames in by_clip for _, pred, _ in frames)
        assert tracks.id_matches[c] == sum(map(slow_idtp, by_clip))
        ious = [iou for frames in by_clip for *_, by_pair in frames for iou in by_pair.values()]
        if 0.5 not in ious:
            matches, switches = np.sum([slow_clear(frames) for frames in by_clip], axis=0)
            assert tracks.matches[c] == matches
            assert sum(switch.class_id == c for switch in tracks.switches) == switches
    assert not tracks.gt[[ROAD, SKY]].any() and not tracks.pred[[ROAD, SKY]].any()


@pytest.mark.parametrize('seed', range(12))  # fixed seeds: equally good assignments may differ
def test_hota_equals_its_definition(seed):
    clips = [random_clip(seed), random_clip(seed + 1000)]
    tracks = measure(*clips).tracks
    for c in THINGS:
        matched, association = np.sum(
            [slow_hota(slow_similarities(clip, c)) for clip in clips], axis=0
        )
        np.testing.assert_array_equal(tracks.hota_matches[:, c], matched)
        np.testing.assert_allclose(tracks.association[:, c], association)


def test_the_random_clips_contain_every_case():
    tracks = measure(*[random_clip(seed) for seed in range(20)]).tracks
    things = list(THINGS)
    assert (tracks.matches[things] > 20).all()
    assert (tracks.id_matches < tracks.matches)[things].all()
    assert {switch.class_id for switch in tracks.switches} == set(things)


def test_scores_follow_from_the_counts():
    metric = measure(*[random_clip(seed) for seed in range(4)])
    tracks, result = metric.tracks, metric.compute()
    for name, among in (('all', [*THINGS]), ('things', [*THINGS]), (CAR, [CAR])):
        scores = result.per_class[name] if name == CAR else getattr(result, name)
        gt, pred = tracks.gt[among].sum(), tracks.pred[among].sum()
        tp, idtp = tracks.matches[among].sum(), tracks.id_matches[among].sum()
        switches = sum(switch.class_id in among for switch in tracks.switches)
        assert scores['id_switches'] == switches
        assert scores['mota'] == pytest.approx(
            100 * (1 - ((gt - tp) + (pred - tp) + switches) / gt)
        )
        precision, recall = idtp / pred, idtp / gt
        assert scores['idf1'] == pytest.approx(200 * precision * recall / (precision + recall))
        hits = tracks.hota_matches[:, among].sum(axis=1)
        deta = hits / (hits + (gt - hits) + (pred - hits))
        assa = tracks.association[:, among].sum(axis=1) / np.maximum(hits, 1)
        assert scores['deta'] == pytest.approx(100 * deta.mean())
        assert scores['assa'] == pytest.approx(100 * assa.mean())
        assert scores['hota'] == pytest.approx(100 * np.sqrt(deta * assa).mean())
    assert np.isnan([result.stuff[k] for k in ('hota', 'mota', 'idf1', 'id_switches')]).all()


TRUTH = frame((CAR, 1, 10), (CAR, 2, 10), (ROAD, 0, 10))


def predict(*frames):
    """Return a clip of TRUTH in every frame, predicted as the given (class, track, pixels)."""
    return [(*TRUTH, *frame(*runs)) for runs in frames]


SWAP = predict(
    [(CAR, 5, 10), (CAR, 6, 10), (ROAD, 0, 10)], [(CAR, 6, 10), (CAR, 5, 10), (ROAD, 0, 10)]
)


@pytest.mark.parametrize(
    ('clip', 'expected'),
    [
        (SWAP, [(1, 1, 5, 6), (1, 2, 6, 5)]),
        # lost for a frame, then found with its old id or a new one
        (
            predict([(CAR, 5, 10), (ROAD, 0, 20)], [(ROAD, 0, 30)], [(CAR, 5, 10), (ROAD, 0, 20)]),
            [],
        ),
        (
            predict([(CAR, 5, 10), (ROAD, 0, 20)], [(ROAD, 0, 30)], [(CAR, 7, 10), (ROAD, 0, 20)]),
            [(2, 1, 5, 7)],
        ),
        # another class is not a match; the same id in it is another track
        (predict([(CAR, 5, 10), (ROAD, 0, 20)], [(PERSON, 5, 10), (ROAD, 0, 20)]), []),
        # a car in two halves: it keeps the track that it had, in any order of the ids
        (
            predict(
                [(CAR, 6, 10), (ROAD, 0, 20)],
                [(CAR, 5, 5), (CAR, 6, 5), (ROAD, 0, 20)],
                [(CAR, 6, 5), (CAR, 7, 5), (ROAD, 0, 20)],
            ),
            [],
        ),
    ],
)
def test_switches_have_a_frame_and_both_ids(clip, expected):
    metric = measure(SWAP, clip)
    switches = [switch for switch in metric.tracks.switches if switch.clip == 1]
    assert switches == [IdSwitch(1, index, CAR, *ids) for index, *ids in expected]
    assert metric.compute().to_dict()['switches'][0] == {
        'clip': 0,
        'frame_index': 1,
        'class_id': CAR,
        'gt_track': 1,
        'old_pred': 5,
        'new_pred': 6,
    }


def test_one_prediction_over_two_halves_matches_one_of_them():
    tracks = measure([(*TRUTH, *frame((CAR, 5, 20), (ROAD, 0, 10)))]).tracks
    assert (tracks.gt[CAR], tracks.pred[CAR], tracks.matches[CAR]) == (2, 1, 1)


@pytest.mark.parametrize(
    ('truth', 'predicted', 'expected'),
    [
        # more than half void or crowd of its class: ignored; exactly half: counts
        ([(VOID_ID, 0, 6), (ROAD, 0, 4)], (CAR, 5, 10), 0),
        ([(VOID_ID, 0, 5), (ROAD, 0, 5)], (CAR, 5, 10), 1),
        ([(CAR, 0, 6), (ROAD, 0, 4)], (CAR, 5, 10), 0),
        ([(CAR, 0, 3), (VOID_ID, 0, 3), (ROAD, 0, 4)], (CAR, 5, 10), 0),
        ([(CAR, 0, 10)], (PERSON, 5, 10), 1),
        # void does not count against a match: IoU 4/4
        ([(CAR, 1, 4), (VOID_ID, 0, 6)], (CAR, 5, 10), 1),
    ],
)
def test_predictions_in_void_and_crowds_are_ignored(truth, predicted, expected):
    tracks = measure([(*frame(*truth), *frame(predicted))]).tracks
    assert tracks.pred.sum() == expected
    assert tracks.matches.sum() == (truth[0] == (CAR, 1, 4))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_assign_tracks_finds_the_best_assignment(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 5, (4, 5)) * (rng.random((4, 5)) < 0.4)
    i, j = (x.ravel() for x in np.indices(table.shape))
    chosen = assign_tracks(i, j, table.ravel())
    assert max(np.bincount(i[chosen], minlength=1)) <= 1
    assert max(np.bincount(j[chosen], minlength=1)) <= 1
    assert table.ravel()[chosen].sum() == max(
        sum(table[pair] for pair in pairs) for pairs in assignments(range(4), range(5))
    )
