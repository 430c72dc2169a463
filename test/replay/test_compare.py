# SPDX-License-Identifier: Apache-2.0
"""Differences of two replays, and their confidence intervals."""

import os

import numpy as np
import pytest

from panoptic_ros.core.files import write_json
from panoptic_ros.replay.bootstrap import DRAWS
from panoptic_ros.replay.compare import compare_replays
from panoptic_ros.replay.finished_run import ReplayRun, read_run
from panoptic_ros.replay.frame_records import FrameRecord, TrackedThing, write_records

NAMES = ['road', 'car']


def run(
    name: str, rows, camera: str = 'front', step_ns: int = 100_000_000, **summary
) -> ReplayRun:
    """Return a replay from rows of (IoU sum, tp, fp, fn) of class 1, one per frame."""
    records = [
        FrameRecord(
            camera,
            i,
            10**18 + i * step_ns,
            0,
            times_ms={'total': 10.0 + i % 3},
            quality={1: tuple(row)},
            overlap={0: (90 + i % 2, 100), 1: (int(10 * row[0]), 50)},
        )
        for i, row in enumerate(rows)
    ]
    return ReplayRun(
        name,
        {
            'model': {'classes': NAMES},
            'settings': {'min_area': 0},
            'scores': None,
            'timing': {'latency_ms': {}},
            'tracks': {'confirmed': 0},
            **summary,
        },
        records,
    )


def row_of(comparison, name: str):
    return next(row for row in comparison.rows if row.name == name)


def slow_interval(a, b, per_block: int):
    """Compute the interval of PQ by loops over draws, blocks and frames."""
    blocks = [list(range(i, min(i + per_block, len(a)))) for i in range(0, len(a), per_block)]
    rng = np.random.default_rng(5)
    differences = []
    for _ in range(DRAWS):
        drawn = [blocks[i] for i in rng.integers(0, len(blocks), len(blocks))]
        pq = []
        for rows in (a, b):
            iou = tp = fp = fn = 0.0
            for block in drawn:
                for i in block:
                    iou, tp, fp, fn = np.add((iou, tp, fp, fn), rows[i])
            pq.append(100 * iou / (tp + (fp + fn) / 2))
        differences.append(pq[1] - pq[0])
    return np.quantile(differences, [0.025, 0.975])


def test_pq_and_its_interval_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    a = [(0.8 * tp, tp, fp, fn) for tp, fp, fn in rng.integers(0, 5, (200, 3)) + 1]
    b = [(iou + 0.05 * tp, tp, fp, max(fn - 1, 0)) for iou, tp, fp, fn in a]
    found = row_of(compare_replays(run('a', a), run('b', b)), 'PQ car')
    for value, rows in ((found.a, a), (found.b, b)):
        iou, tp, fp, fn = np.sum(rows, axis=0)
        assert value == pytest.approx(100 * iou / (tp + (fp + fn) / 2))
    low, high = slow_interval(a, b, 10)
    assert found.interval == pytest.approx((low, high), abs=0.15 * (high - low))
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.is_clear
    assert row_of(compare_replays(run('a', a), run('b', b)), 'PQ').difference == found.difference


def test_miou_is_the_mean_over_classes_of_summed_pixels():
    a, b = [(2, 3, 0, 0)] * 100, [(3, 3, 0, 0)] * 100
    found = row_of(compare_replays(run('a', a), run('b', b)), 'mIoU')
    assert found.a == pytest.approx((90.5 + 40) / 2)
    assert found.b == pytest.approx((90.5 + 60) / 2)
    assert found.interval == pytest.approx((10, 10))  # the same in each image


def test_a_run_does_not_differ_from_itself():
    rows = [(0.7, 1, i % 2, 0) for i in range(100)]
    comparison = compare_replays(run('a', rows), run('b', rows))
    assert comparison.paired == 100
    assert comparison.differing == ()
    for row in comparison.rows:
        assert not row.difference
        assert not row.is_clear


def test_only_images_of_both_are_compared():
    a, b = run('a', [(1, 1, 0, 0)] * 30), run('b', [(0, 0, 0, 1)] * 30)
    b.records[:] = b.records[20:]
    found = compare_replays(a, b)
    assert found.paired == 10
    assert row_of(found, 'PQ car')[1:3] == (100, 0)


def test_figures_are_of_the_common_images():
    """Latencies and tracks of images that one run lacks do not count."""
    rows = [(0.7, 1, 0, 0)] * 30
    a, b = run('a', rows), run('b', rows)
    for i, record in enumerate(a.records):
        record.seen = (TrackedThing(i // 10 + 1, 1, True),)  # three tracks of ten images
        record.times_ms = {'total': float(i)}
        record.switches = ({},) * (i % 10 == 0)
        record.problem = 'bad' * (i % 15 == 0)
    b.records[:] = b.records[20:]
    found = compare_replays(a, b)
    assert row_of(found, 'tracks')[1:3] == (1, 0)
    assert row_of(found, 'id switches')[1:3] == (1, 0)
    assert row_of(found, 'images without a result')[1:3] == (0, 0)
    assert row_of(found, 'latency, mean ms').a == pytest.approx(24.5)
    assert row_of(found, 'latency p50, ms').a == pytest.approx(np.percentile(range(20, 30), 50))
    assert row_of(found, 'latency p95, ms').a == pytest.approx(np.percentile(range(20, 30), 95))


@pytest.mark.parametrize('is_part', [False, True])
def test_scores_of_whole_runs_say_so_where_the_images_differ(is_part):
    rows = [(0.7, 1, 0, 0)] * 30
    scores = {'video': {'all': {'stq': 50.0, 'vpq': 40.0, 'idf1': 30.0}}}
    a, b = (run(name, rows, scores=scores) for name in 'ab')
    if is_part:
        b.records.pop().quality = None
    else:  # an image without ground truth adds nothing to the scores
        b.records.append(FrameRecord('front', 30, 1, 1))
    found = compare_replays(a, b)
    for name in ('STQ', 'VPQ', 'IDF1'):
        row = row_of(found, name)
        assert row.whole_runs == is_part and row.to_dict()['whole_runs'] == is_part
        assert row.title == (f'{name} (whole runs)' if is_part else name)
    others = [row for row in found.rows if row.name not in ('STQ', 'VPQ', 'IDF1')]
    assert len(others) > 5 and not any(row.whole_runs for row in others)


def test_counts_are_integers():
    rows = [(0.7, 1, 0, 0)] * 100
    a, b = run('a', rows), run('b', rows)
    for record in b.records[::3]:
        record.problem, record.switches = 'bad', ({},)
    found = compare_replays(a, b)
    for name in ('images without a result', 'id switches', 'tracks'):
        row = row_of(found, name)
        assert all(isinstance(value, int) for value in (row.a, row.b, *(row.interval or ()))), name
        assert '.' not in ''.join(row.cells())
    assert row_of(found, 'images without a result').cells()[:3] == ('0', '34', '+34')
    assert row_of(found, 'tracks').cells() == ('0', '0', '0', '-')
    assert row_of(found, 'PQ').cells() == ('70.0', '70.0', '0.0', '0.0 to 0.0')


def test_models_dates_and_settings_are_named():
    rows = [(0.7, 1, 0, 0)]
    a, b = (
        run(
            name,
            rows,
            model={'classes': NAMES, 'name': name, 'hash': f'hash {name}', 'file': f'{name}.onnx'},
            settings={'min_area': 0, 'zeal': name},
            timing={'finished': f'2026-11-30T1{place}:00:00+00:00'},
        )
        for place, name in enumerate('ab')
    )
    found = compare_replays(a, b)
    facts = {fact.name: (fact.a, fact.b) for fact in found.facts}
    assert facts['model'] == ('a', 'b') and facts['model hash'] == ('hash a', 'hash b')
    assert facts['model file'] == ('a.onnx', 'b.onnx')
    assert facts['replayed'] == ('2026-11-30 10:00 UTC', '2026-11-30 11:00 UTC')
    assert [fact.name for fact in found.settings if fact.differs] == ['zeal']
    assert found.settings[0].name == 'zeal', 'what differs comes first'
    # Dates, folders and names of files do not change results.
    assert found.differing == ('model: a vs b', 'model hash: hash a vs hash b', 'zeal: a vs b')
    assert found.to_dict()['runs']['b']['model file'] == 'b.onnx'


def test_the_date_of_an_earlier_run_is_that_of_its_file(tmp_path):
    good = run('a', [(1, 1, 0, 0)])
    write_records(good.records, tmp_path / 'frames.jsonl')
    write_json(good.summary, tmp_path / 'summary.json')
    os.utime(tmp_path / 'summary.json', (0, 60))
    assert read_run(tmp_path).date == '1970-01-01 00:01 UTC'


def test_a_short_clip_has_no_interval():
    rows = [(0.7, 1, 0, 0)] * 3
    assert row_of(compare_replays(run('a', rows), run('b', rows)), 'PQ car').interval is None


def test_what_is_not_the_same_is_said():
    rows = [(0.7, 1, 0, 0)]
    found = compare_replays(
        run('a', rows, mode='lock-step'), run('b', rows, mode='live', settings={'min_area': 5})
    )
    assert found.differing == ('mode: lock-step vs live', 'min_area: 0 vs 5')


def test_a_recording_is_the_same_under_each_of_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(0.7, 1, 0, 0)]

    def differing(*sources: str) -> tuple[str, ...]:
        return compare_replays(*(run(s, rows, source=s) for s in sources)).differing

    assert differing('bags/../bag', f'{tmp_path}/bag') == ()
    assert differing('a', 'b') == (f'source: {tmp_path}/a vs {tmp_path}/b',)


def test_differing_values_are_readable():
    rows = [(0.7, 1, 0, 0)]
    a, b = (
        run(name, rows, part=part, settings=settings)
        for name, part, settings in (
            (
                'a',
                {'start_s': 0.0, 'duration_s': None, 'stride': 1},
                {'classes.include': [], 'tracker.enabled': True},
            ),
            (
                'b',
                {'start_s': 0.0, 'duration_s': 5.0, 'stride': 2},
                {'classes.include': ['car', 'road'], 'tracker.enabled': False},
            ),
        )
    )
    assert compare_replays(a, b).differing == (
        'duration, s: - vs 5.0',
        'stride: 1 vs 2',
        'classes.include: - vs car, road',
        'tracker.enabled: true vs false',
    )


def test_settings_under_earlier_names_are_compared_with_the_present_ones():
    rows = [(0.7, 1, 0, 0)]
    earlier = {'tracker.gate': 0.5, 'tracker.max_age': 1.5}
    now = {'tracker.match_threshold': 0.5, 'tracker.max_age': 2.0}
    found = compare_replays(run('a', rows, settings=earlier), run('b', rows, settings=now))
    assert found.differing == ('tracker.max_age: 1.5 vs 2.0',)


def test_runs_that_cannot_be_compared_are_refused():
    rows = [(0.7, 1, 0, 0)]
    with pytest.raises(ValueError, match='share no image'):
        compare_replays(run('a', rows), run('b', rows, camera='rear'))
    with pytest.raises(ValueError, match='other classes: bus, car'):
        compare_replays(run('a', rows), run('b', rows, model={'classes': ['road', 'bus']}))


@pytest.mark.parametrize(
    'stamps', [[0] * 30, [5] * 30, [i // 2 for i in range(30)], [i % 10 for i in range(30)]]
)
def test_images_that_share_a_stamp_are_compared_each_with_its_own(stamps):
    a, b = (
        run(name, [(0.5 if i == wrong else 1, 1, 0, 0) for i in range(30)])
        for name, wrong in (('a', 3), ('b', 28))
    )
    for one in (a, b):
        for i, record in enumerate(one.records):
            record.stamp_ns, record.recorded_ns = stamps[i] * 10**8, 10**18 + i * 10**8
    b.records.reverse()
    found = compare_replays(a, b)
    assert found.paired == 30
    row = row_of(found, 'PQ car')
    assert (row.a, row.b) == (pytest.approx(100 * 29.5 / 30), pytest.approx(100 * 29.5 / 30))
    assert row.interval is not None
    del b.records[5:]  # the last of the recording
    found = compare_replays(a, b)
    assert found.paired == 5
    row = row_of(found, 'PQ car')
    assert (row.a, row.b) == (100, 90)
    for record in b.records:  # of another recording
        record.recorded_ns += 7
    assert compare_replays(a, b).paired == 5


@pytest.mark.parametrize(
    ('name', 'text', 'reason'),
    [
        ('summary.json', '[]', 'has no classes'),
        ('summary.json', '{"model": {"classes": 3}, "settings": {}}', 'has no classes'),
        ('summary.json', '{"model": {"classes": ["a"]}}', 'no settings'),
        ('summary.json', '[' * 100_000, 'nested too deeply'),
        ('frames.jsonl', '[1]', 'frames.jsonl is damaged'),
        ('frames.jsonl', '[' * 100_000, 'nested too deeply'),
        ('frames.jsonl', 'quality of class 9', 'class ids must be 0 to 1, got 9 to 9'),
    ],
)
def test_damaged_results_are_told_in_one_line(tmp_path, name, text, reason):
    good = run('a', [(1, 1, 0, 0)])
    if text.startswith('quality'):
        good.records[0].quality, good.records[0].overlap = {9: (1, 1, 0, 0)}, None
        text = good.records[0].to_json()
    write_records(good.records, tmp_path / 'frames.jsonl')
    write_json(good.summary, tmp_path / 'summary.json')
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=reason) as caught:
        read_run(tmp_path)
    assert '\n' not in str(caught.value)
