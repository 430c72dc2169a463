# SPDX-License-Identifier: Apache-2.0
"""Comparison of suites: figures, intervals, correction, conditions."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser, shown_page
from random_clips import random_clip
from suite_runs import compare
from tiny_model import LABELS

from panoptic_ros.core.files import write_json
from panoptic_ros.replay.bootstrap import interval
from panoptic_ros.replay.counts import counts_of
from panoptic_ros.replay.scores import ReplayScores
from panoptic_ros.suite.compare import compare_suites, read_suite_run
from panoptic_ros.suite.conditions import parse_condition
from panoptic_ros.suite.linear_counts import HEADLINE, figures_of, linear_counts
from panoptic_ros.suite.merge import PLACES, value_of
from panoptic_ros.suite.resample import bootstrap, holm, p_value, swap_sides


def clip(seed: int, wrong: float = 0.1, frames: int = 4) -> ReplayScores:
    return random_clip(ReplayScores(LABELS), seed, frames, wrong)


def computed(scores: ReplayScores) -> dict[str, float | None]:
    """Return the figures as the metrics compute them."""
    values = scores.to_dict()
    found = {name: value_of(values, PLACES[name]) for name in HEADLINE}
    return found | {f'pq:{row["name"]}': row['pq'] for row in values['panoptic']['per_class']}


def same(figures, expected) -> None:
    assert figures.keys() == expected.keys()
    for name, value in expected.items():
        wanted = np.nan if value is None else value
        assert float(figures[name]) == pytest.approx(wanted, rel=1e-9, nan_ok=True), name


@pytest.mark.parametrize('wrong', [0.0, 0.05, 0.15, 0.9])
def test_figures_are_those_of_the_metrics(wrong):
    scores = clip(3, wrong)
    same(figures_of(linear_counts(scores), LABELS.names), computed(scores))


def test_figures_of_nothing_are_not_numbers():
    scores = ReplayScores(LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        figures = figures_of(linear_counts(scores), LABELS.names)
    same(figures, computed(scores))
    assert all(np.isnan(value) for value in figures.values())


def test_draws_are_scores_of_merged_recordings():
    """Against a loop that merges the drawn recordings one by one."""
    clips = [[clip(seed, wrong, frames=2) for wrong in (0.05, 0.12)] for seed in range(4)]
    tables = [[linear_counts(scores) for scores in pair] for pair in clips]
    counts = {
        name: np.array([[one[name] for one in pair] for pair in tables]) for name in tables[0][0]
    }
    found = bootstrap(counts, 6, lambda sums: figures_of(sums, LABELS.names))
    weights = np.random.default_rng(0).multinomial(4, [0.25] * 4, 6)
    for d, row in enumerate(weights):
        for side in range(2):
            total = ReplayScores(LABELS)
            for pair, times in zip(clips, row, strict=True):
                for _ in range(times):
                    total.merge(pair[side])
            same({name: draws[d, side] for name, draws in found.items()}, computed(total))


def test_draws_in_parts_are_those_in_one(monkeypatch):
    counts = {'x': np.arange(20.0).reshape(10, 2)}
    whole = bootstrap(counts, 50, lambda sums: sums)['x']
    monkeypatch.setattr('panoptic_ros.suite.resample.CHUNK', 70)
    parts = bootstrap(counts, 50, lambda sums: sums)['x']
    assert whole.shape == (50, 2) and np.array_equal(whole, parts)


def test_intervals_hold_the_true_difference_as_often_as_they_say():
    """400 experiments of 30 recordings with a true difference of -1."""
    random, hits, alarms = np.random.default_rng(1), 0, 0
    for _ in range(400):
        base = random.normal(50, 5, 30)
        worse = base - 1 + random.normal(0, 2, 30)
        draws = bootstrap({'x': np.stack([base, worse], 1)}, 400, lambda s: {'x': s['x'] / 30})
        low, high = interval(draws['x'])
        hits += low <= -1 <= high
        sides = np.stack([base, worse + 1], 1)
        swapped = swap_sides({'x': sides}, 400, lambda sums: sums)['x']
        alarms += p_value(np.diff(sides.sum(axis=0))[0], swapped) < 0.05
    assert 0.90 < hits / 400 < 0.98
    assert 0.02 < alarms / 400 < 0.08


def test_p_values_are_those_of_all_swaps():
    """Against every one of the 64 ways to swap the sides of six recordings."""
    random = np.random.default_rng(4)
    sides = random.normal((50, 51), 1, (6, 2))
    difference = np.diff(sides.sum(axis=0))[0]
    all_swaps = [
        sum(row[1] - row[0] if way >> i & 1 else row[0] - row[1] for i, row in enumerate(sides))
        for way in range(64)
    ]
    exact = np.mean(np.abs(all_swaps) >= abs(difference) - 1e-9)
    swapped = swap_sides({'x': sides}, 20_000, lambda sums: sums)['x']
    assert p_value(difference, swapped) == pytest.approx(exact, abs=0.01)
    assert 0.01 < exact < 0.5


def test_swaps_are_scores_of_merged_recordings():
    clips = [[clip(seed, wrong, frames=2) for wrong in (0.05, 0.12)] for seed in range(3)]
    tables = [[linear_counts(scores) for scores in pair] for pair in clips]
    counts = {
        name: np.array([[one[name] for one in pair] for pair in tables]) for name in tables[0][0]
    }
    found = swap_sides(counts, 6, lambda sums: figures_of(sums, LABELS.names))
    for d, row in enumerate(np.random.default_rng(0).integers(0, 2, (6, 3))):
        for side in range(2):
            total = ReplayScores(LABELS)
            for pair, swap in zip(clips, row, strict=True):
                total.merge(pair[side ^ swap])
            same({name: draws[d, side] for name, draws in found.items()}, computed(total))


@pytest.mark.parametrize(
    ('difference', 'draws', 'expected'),
    [
        (0.0, [0.0] * 99, 1.0),
        (5.0, [0.0] * 99, 0.01),
        (-5.0, [5.0] * 4 + [0.0] * 95, 0.05),  # either sign
        (5.0, [np.nan] * 99, 1.0),
    ],
)
def test_p_values_of_some_draws(difference, draws, expected):
    swapped = np.stack([np.zeros(len(draws)), draws], 1)
    assert p_value(difference, swapped) == pytest.approx(expected)


def test_holm_is_its_definition():
    """Rejects, at every level, what the stepwise procedure rejects."""
    random = np.random.default_rng(0)
    for _ in range(50):
        p = random.random(7) ** 3
        adjusted = holm(list(p))
        for level in np.linspace(0.001, 0.999, 101):
            rejected = set()
            for rank, i in enumerate(np.argsort(p)):
                if p[i] > level / (len(p) - rank):
                    break
                rejected.add(i)
            assert {i for i, value in enumerate(adjusted) if value <= level} == rejected
    assert holm([]) == []


def write_run(folder: Path, clips: dict[str, ReplayScores], tags=(), **keys) -> Path:
    """Write the results of a run, as far as a comparison reads them."""
    rows = []
    for name, scores in clips.items():
        place = folder / 'recordings' / name
        place.mkdir(parents=True)
        write_json(counts_of(scores), place / 'counts.json')
        own = [tag for tag in tags if tag in name]
        rows.append({'name': name, 'tags': own, 'error': '', 'scored': scores.frames})
    rows += [{'name': 'broken', 'tags': [], 'error': 'not a bag', 'scored': None}]
    (folder / 'recordings.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    summary = {
        'suite': 'drawn',
        'model': {'name': 'tiny', 'file': 'tiny.onnx', 'hash': '0123'},
        'mode': 'lock-step',
        'parameters': {},
        'recordings': {'all': len(rows), 'done': len(clips), 'failed': 1},
        'software': {'panoptic_ros': '0'},
        'timing': {'latency_ms': {'p50': 10.0, 'p95': 12.0}},
    }
    write_json(summary | keys, folder / 'summary.json')
    return folder


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A run, and one that is worse on recordings by night only."""
    folder = tmp_path_factory.mktemp('runs')
    names = [f'{time}_{i}' for time in ('day', 'night') for i in range(12)]
    a = {name: clip(i) for i, name in enumerate(names)}
    b = {n: clip(i, 0.1 if n[0] == 'd' else 0.17) for i, n in enumerate(names)}
    return [
        write_run(folder / side, clips, ('day', 'night', '_7'))
        for side, clips in (('a', a), ('b', b))
    ]


def test_regressions_are_found_where_they_are(runs):
    found = {f.key: f for f in compare_suites(*map(read_suite_run, runs)).figures}
    assert found['pq@night'].verdict == 'regression' and found['pq@night'].difference < -1
    assert found['pq@night'].interval[0] < found['pq@night'].difference < 0
    assert found['pq@day'].difference == 0 and not found['pq@day'].verdict
    assert found['pq@day'].p == 1 and found['pq'].recordings == 24
    assert found['pq@_7'].interval is None  # two recordings
    assert {'pq:ball', 'pq:floor', 'hota', 'idf1@night'} <= found.keys()
    assert not any(key.startswith('pq:') and '@' in key for key in found)
    # A figure is corrected for those of its own table only.
    assert found['pq'].p <= 6 * 0.001 and found['pq:ball'].p <= 4 * 0.001
    back = {f.key: f for f in compare_suites(*map(read_suite_run, runs[::-1])).figures}
    assert back['pq@night'].verdict == 'improvement'
    assert back['pq@night'].difference == pytest.approx(-found['pq@night'].difference)


def test_figures_are_those_of_merged_counts(runs):
    total = ReplayScores(LABELS)
    for i in range(24):
        total.merge(clip(i))
    found = {f.key: f.a for f in compare_suites(*map(read_suite_run, runs)).figures}
    for name, value in computed(total).items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_a_comparison_is_the_same_each_time(runs):
    first, second = (compare_suites(*map(read_suite_run, runs)).to_dict() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ('conditions', 'status'),
    [
        ([], 0),
        (['pq < -0.5'], 1),
        (['pq < -50'], 0),
        (['pq@day < -0.01', 'pq:ball < -99'], 0),
        (['pq@day < -0.01', 'regressions > 0'], 1),
        (['unpaired > 0'], 0),
        (['hota>=0'], 0),
    ],
)
def test_conditions_set_the_exit_status(runs, capsys, conditions, status):
    words = [word for text in conditions for word in ('--fail-if', text)]
    assert compare(*runs, *words) == status
    output = capsys.readouterr().out
    assert output.count('failed: ') == status and 'regression' in output
    assert '24 recordings in both' in output and '24 recordings with scores, 1 failed' in output


@pytest.mark.parametrize(
    ('text', 'parsed'),
    [
        ('pq < -0.5', ('pq', '<', -0.5)),
        (' pq:traffic light>=.25 ', ('pq:traffic light', '>=', 0.25)),
        ('pq@night<=3', ('pq@night', '<=', 3)),
        ('regressions > 0', ('regressions', '>', 0)),
    ],
)
def test_conditions_are_parsed(text, parsed):
    condition = parse_condition(text)
    assert (condition.figure, condition.sign, condition.number) == parsed


@pytest.mark.parametrize(
    ('text', 'error'),
    [
        ('pq', '--fail-if must be a figure, one of'),
        ('pq < one', '--fail-if must be a figure'),
        ('pq == 0', '--fail-if must be a figure'),
        ('pq < 0; import os', '--fail-if must be a figure'),
        ('pq < 1e999', '--fail-if must be a figure'),
        ('pqq < 0', "there is no figure 'pqq'; did you mean pq"),
        ('pq@fog < 0', "there is no figure 'pq@fog'"),
    ],
)
def test_conditions_that_are_refused(runs, capsys, text, error):
    assert compare(*runs, '--fail-if', text) == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1 and error in message


def test_a_condition_on_a_figure_without_value_is_an_error(tmp_path, capsys):
    empty = ReplayScores(LABELS)
    empty.images.images = 1
    clips = {'a': clip(0), 'b': empty}
    folders = [write_run(tmp_path / side, {'one': scores}) for side, scores in clips.items()]
    assert compare(*folders, '--fail-if', 'pq < 0') == 2
    assert 'pq has no value in one of the runs' in capsys.readouterr().err


def test_recordings_are_paired_by_name(tmp_path, capsys):
    a = write_run(tmp_path / 'a', {'x': clip(0), 'y': clip(1), 'gone': clip(2)})
    b = write_run(tmp_path / 'b', {'y': clip(1, frames=3), 'x': clip(0), 'new': clip(5)})
    comparison = compare_suites(read_suite_run(a), read_suite_run(b))
    assert comparison.paired == ('y', 'x') and comparison.unpaired == ('gone', 'new')
    assert comparison.other_images == ('y',)
    assert compare(a, b, '--fail-if', 'unpaired > 0') == 1
    assert '2 recordings only in one run: gone, new' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        (lambda b: (b / 'summary.json').unlink(), 'holds no finished run of `panoptic suite run`'),
        (lambda b: (b / 'summary.json').write_text('[]'), 'are damaged'),
        (lambda b: (b / 'recordings.jsonl').write_text('{}\n'), 'are damaged'),
        (lambda b: (b / 'recordings.jsonl').write_text(''), 'have no recording with scores in'),
        (lambda b: (b / 'recordings/x/counts.json').write_text('{}'), 'counts.json is damaged'),
    ],
)
def test_damaged_results_are_refused(tmp_path, capsys, change, error):
    a, b = (write_run(tmp_path / side, {'x': clip(0, frames=1)}) for side in 'ab')
    change(b)
    assert compare(a, b) == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1 and error in message


def test_the_page_has_every_figure(runs, tmp_path):
    assert compare(*runs, '-o', tmp_path / 'out') == 0
    values = json.loads((tmp_path / 'out' / 'compare.json').read_text())
    assert values['regressions'] > 0 and values['correction'].startswith('Holm')
    text = (tmp_path / 'out' / 'compare.html').read_text()
    assert len(re.findall(r'<tr class="regression">', text)) == values['regressions']
    assert text.count('<td>24</td>') == 6 + 4 and 'http' not in text.replace('http-equiv', '')
    (tmp_path / 'foreign').mkdir()
    (tmp_path / 'foreign' / 'compare.json').write_text('{}')
    assert compare(*runs, '-o', tmp_path / 'foreign') == 2


@needs_browser
def test_the_page_runs_in_a_browser(runs, tmp_path):
    assert compare(*runs, '-o', tmp_path / 'out') == 0
    page = shown_page(tmp_path / 'out' / 'compare.html', tmp_path / 'profile')
    assert page.count('<th><button>') + page.count('<th class="text"><button>') == 3 * 8
