# SPDX-License-Identifier: Apache-2.0
"""Ablation studies: reading, running what is missing, the table."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from panoptic_ros.cli.main import main
from panoptic_ros.cli.recipes import find_recipe, study_files
from panoptic_ros.core.files import lock_folder
from panoptic_ros.models.config import configure
from panoptic_ros.models.registry import FAMILIES
from panoptic_training import ablation, ablation_hours
from panoptic_training.ablation import Study, Variant, load_study, runs_of
from panoptic_training.ablation_scores import half_interval, rank_agreement
from panoptic_training.losses.registry import build_loss

STUDY = {
    'title': 'A table',
    'source': 'a paper',
    'recipe': 'hle_mobilenetv2_city',
    'seeds': [3, 4],
    'limit': 5,
    'tune_trials': 7,
    'tune_limit': 4,
    'budget': {'trainer.max_steps': 2, 'trainer.max_time': None},
    'variants': [
        {'name': 'with a', 'paper': {'pq': 50.0}, 'set': {'model.loss.loss': 'ae'}},
        {'name': 'with b', 'paper': {'pq': 60.0}},
    ],
}


def scores_json(pq):
    return {
        'all': {'pq': pq},
        'things': {'pq': pq},
        'stuff': {'pq': None},
        'semantic': {'miou': 1.0},
    }


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / 'study.yaml'
    path.write_text(yaml.safe_dump(STUDY))
    return path


@pytest.fixture
def commands(monkeypatch):
    """Stands in for the commands of the runs: notes them and writes what they would leave."""
    said = []

    def panoptic(command, run, words):
        said.append(words)
        if words[0] == 'train':
            run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            run.checkpoint.touch()
        elif words[0] == 'tune-decoder':
            folder = next(Path(w[9:]) for w in words if w.startswith('--output='))
            folder.mkdir(exist_ok=True)
            found = {'thresholds': {'score_threshold': 0.25, 'min_area': 30.0}}
            (folder / 'thresholds.json').write_text(json.dumps(found))
        else:
            target = next(w.removeprefix('--json=') for w in words if w.startswith('--json='))
            pq = {'with_a': 20.0, 'with_b': 10.0}[run.variant.folder] + run.seed
            Path(target).write_text(json.dumps(scores_json(pq)))

    monkeypatch.setattr(ablation, 'panoptic', panoptic)
    monkeypatch.setattr(ablation_hours, 'panoptic', lambda command, run, words: None)
    return said


@pytest.mark.parametrize('path', study_files().values(), ids=study_files())
def test_each_shipped_study_names_a_shipped_recipe_and_settings_that_there_are(path):
    study = load_study(path)
    recipe = yaml.safe_load(find_recipe(study.recipe).read_text())
    family, different = recipe['model']['family'], []
    for variant in study.variants:
        found = {'network': {}, 'loss': {}, **copy.deepcopy(recipe['model'])}
        for key, value in {**study.budget, **variant.set}.items():
            part, _, name = key.removeprefix('model.').partition('.')
            if part in ('network', 'loss'):
                found[part][name] = value
        configs = (
            configure(FAMILIES[family].config, found['network'], variant.name),
            build_loss(family, found['loss']).keywords['config'],
        )
        assert configs not in different, f'{variant.name} is another row again'
        different.append(configs)
    assert study.metrics


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'variants': []}, 'at least one variant'),
        ({'variants': [{'name': 'x'}, {'name': 'X!'}]}, 'a name of its own'),
        ({'variants': [{'name': 'x', 'paper': {'f1': 3}}]}, "unknown metric 'f1'"),
        ({'variants': [{'name': 'x', 'paper': {'delta': 3}}]}, 'base must be one of x, got None'),
        ({'base': 'y'}, 'base must be one of with a, with b, got y'),
        ({'variants': [{'paper': {'pq': 3}}]}, 'KeyError'),
        ({'colour': 'red'}, "unexpected keyword argument 'colour'"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, change, message):
    path = tmp_path / 'study.yaml'
    path.write_text(yaml.safe_dump({**STUDY, **change}))
    with pytest.raises(ValueError, match=message):
        load_study(path)


def test_runs_go_seed_by_seed(tmp_path):
    study = Study('t', 's', 'r', (1, 2), (Variant('a', {}, {}), Variant('b', {}, {})))
    assert [(r.variant.name, r.seed) for r in runs_of(study, tmp_path)] == [
        ('a', 1),
        ('b', 1),
        ('a', 2),
        ('b', 2),
    ]


def test_a_study_trains_scores_and_compares_ranks(tmp_path, study_file, commands, capsys):
    out = tmp_path / 'out'
    assert main(['ablate', str(study_file), '-o', str(out)]) == 0
    trained = [words for words in commands if words[0] == 'train']
    assert len(trained) == 4
    assert {
        '--trainer.max_steps=2',
        '--trainer.max_time=null',
        '--seed_everything=3',
        '--model.loss.loss=ae',
    } <= set(trained[0])
    tuned, scored = commands[1:3]
    assert [words[0] for words in commands[:3]] == ['train', 'tune-decoder', 'evaluate']
    assert {'--images=::2', '--trials=7', '--limit=4'} <= set(tuned)
    assert {'--images=1::2', '--limit=5'} <= set(scored), (
        'on other images than those of the search'
    )
    assert scored[-3:] == ['--set', 'score_threshold=0.25', 'min_area=30.0']
    text = capsys.readouterr().out
    assert '4 of 4 runs to do, about 0.0 hours on this machine' in text
    assert '| with a | 50.0 | 23.5 ± 6.4 |' in text  # 12.706 * 0.7071 / sqrt(2)
    assert 'pq -1.00' in text  # the paper has them the other way round
    results = json.loads((out / 'results.json').read_text())
    assert results['variants'][1]['ours']['pq'] == [13.0, 14.0]
    assert results['variants'][1]['half_interval']['pq'] == pytest.approx(6.353, abs=1e-3)
    assert results['core_hours'] >= 0
    assert not (out / 'estimate').exists()
    assert (out / 'table.md').read_text().count('| with') == 2


def test_only_what_is_missing_is_run_again(tmp_path, study_file, commands):
    out = tmp_path / 'out'
    main(['ablate', str(study_file), '-o', str(out)])
    (out / 'with_b' / 'seed4' / 'scores.json').unlink()
    commands.clear()
    assert main(['ablate', str(study_file), '-o', str(out)]) == 0
    assert [words[0] for words in commands] == ['train', 'tune-decoder', 'evaluate']
    assert '--ckpt_path=last' in commands[0]  # resumes from the checkpoint that is there


def test_only_some_rows_are_trained(tmp_path, study_file, commands, capsys):
    words = ['ablate', str(study_file), '-o', str(tmp_path / 'out'), '--only']
    assert main([*words, 'With B']) == 0
    folders = {w for words in commands for w in words if w.startswith('--trainer.default_root')}
    assert {Path(folder).parent.name for folder in folders} == {'with_b'}
    text = capsys.readouterr().out
    assert '2 of 4 runs to do' in text and '| with a | 50.0 |  |' in text
    for name, count in (('with', '2 variants'), ('c', '0 variants')):
        assert main([*words, name]) == 2
        assert f"--only '{name}' fits {count}" in capsys.readouterr().err


def test_a_run_killed_before_its_last_checkpoint_starts_again(tmp_path, study_file, commands):
    best = tmp_path / 'out/with_a/seed3/checkpoints/best.ckpt'
    best.parent.mkdir(parents=True)
    best.touch()
    trials = tmp_path / 'out/with_a/seed3/tuned/trials.db'
    trials.parent.mkdir()
    trials.touch()
    assert main(['ablate', str(study_file), '-o', str(tmp_path / 'out')]) == 0
    assert '--overwrite=true' in commands[0] and '--ckpt_path=last' not in commands[0]
    assert not trials.exists(), 'the search was on the weights that are replaced'


def test_a_study_in_progress_keeps_others_out_of_its_folder(
    tmp_path, study_file, commands, capsys
):
    out = tmp_path / 'out'
    main(['ablate', str(study_file), '-o', str(out)])
    commands.clear()
    with lock_folder(out, 'ablation'):
        assert main(['ablate', str(study_file), '-o', str(out)]) == 2
        assert 'in use by another ablation' in capsys.readouterr().err
        assert not commands
        assert main(['ablate', str(study_file), '-o', str(out), '--table-only']) == 0


@pytest.mark.parametrize(
    'change',
    [
        {'limit': 6},
        {'tune_trials': 8},
        {'tune_limit': None},
        {'budget': {'trainer.max_steps': 3}},
        {'variants': [{**STUDY['variants'][0], 'set': {}}, STUDY['variants'][1]]},
        {'recipe': 'ciae_mobilenetv2_city'},
    ],
)
def test_runs_of_another_study_are_not_taken_for_this_ones(
    tmp_path, study_file, commands, capsys, change
):
    out = tmp_path / 'out'
    main(['ablate', str(study_file), '-o', str(out)])
    commands.clear()
    study_file.write_text(yaml.safe_dump({**STUDY, **change}))
    assert main(['ablate', str(study_file), '-o', str(out)]) == 2
    assert 'was started with another recipe, budget or switch' in capsys.readouterr().err
    assert not commands


def test_table_only_trains_nothing(tmp_path, study_file, commands, capsys):
    out = tmp_path / 'out'
    main(['ablate', str(study_file), '-o', str(out)])
    for path in [*out.glob('*/seed4/scores.json'), *out.glob('with_a/*/scores.json')]:
        path.unlink(missing_ok=True)
    commands.clear()
    capsys.readouterr()
    assert main(['ablate', str(study_file), '-o', str(out), '--table-only']) == 0
    assert not commands
    text = capsys.readouterr().out
    assert '0 of 2 seeds finished' in text and 'pq n/a' in text


def test_table_only_needs_a_finished_run(tmp_path, study_file, commands, capsys):
    out = tmp_path / 'out'
    assert main(['ablate', str(study_file), '-o', str(out), '--table-only']) == 2
    assert f'no finished run in {out}; ' in capsys.readouterr().err
    assert not out.exists()


def test_a_failing_command_is_told_with_its_last_line(tmp_path, capsys):
    path, out = tmp_path / 'study.yaml', tmp_path / 'out'
    path.write_text(yaml.safe_dump({**STUDY, 'budget': {'model.speed': 3}}))
    assert main(['ablate', str(path), '-o', str(out)]) == 2
    error = capsys.readouterr().err
    assert 'with a, seed 3: train failed: panoptic: error: unrecognized arguments' in error
    assert '--model.speed=3' in error and f'(see {out}/estimate/train.log)' in error


def test_a_study_without_trials_keeps_the_models_thresholds(tmp_path, commands):
    path = tmp_path / 'study.yaml'
    path.write_text(yaml.safe_dump({**STUDY, 'tune_trials': 0}))
    assert main(['ablate', str(path), '-o', str(tmp_path / 'out')]) == 0
    assert {words[0] for words in commands} == {'train', 'evaluate'}
    assert not any('--set' in words for words in commands)


def test_the_hours_of_finished_runs_are_the_estimate_of_the_others(
    tmp_path, study_file, commands, capsys
):
    out = tmp_path / 'out'
    main(['ablate', str(study_file), '-o', str(out)])
    for path in out.glob('*/*/hours.json'):
        hours = {'wall': 2.0 if 'with_a' in str(path) else 4.0, 'core': 1.0}
        path.write_text(json.dumps(hours))
    for path in out.glob('*/seed4/scores.json'):
        path.unlink()
    capsys.readouterr()
    assert main(['ablate', str(study_file), '-o', str(out)]) == 0
    text = capsys.readouterr().out
    assert '2 of 4 runs to do, about 6.0 hours on this machine (180 minutes each)' in text
    assert ', 4.0 core-hours' in text


def test_a_study_is_estimated_from_short_trainings_and_evaluations(tmp_path, monkeypatch):
    study = Study(
        't',
        's',
        'hle_mobilenetv2_city',
        (0,),
        (Variant('a', {}, {}),),
        {'trainer.max_steps': 1000, 'trainer.max_time': None},
        limit=10,
        tune_trials=3,
        tune_limit=20,
    )
    clock = [0.0]

    def panoptic(command, run, words):
        flags = dict(word.removeprefix('--').split('=', 1) for word in words[1:])
        # 10 s to start, 2 s a step, 0.5 s an image
        clock[0] += 10
        clock[0] += 2 * int(flags.get('trainer.max_steps', 0)) + 0.5 * int(flags.get('limit', 0))

    monkeypatch.setattr(ablation_hours, 'panoptic', panoptic)
    monkeypatch.setattr(ablation_hours.time, 'monotonic', lambda: clock[0])
    recipe = find_recipe(study.recipe)

    def estimated(study):
        runs = list(runs_of(study, tmp_path))
        return ablation_hours.hours_of_run(study, runs, tmp_path, recipe, main)

    expected = (10 + 2 * 1000) + (10 + 0.5 * 3 * 20) + (10 + 0.5 * 10)
    assert estimated(study) == pytest.approx(expected / 3600)
    timed = replace(study, budget={'trainer.max_time': '00:00:05:00'})
    assert estimated(timed) == pytest.approx((expected - 2010 + 300) / 3600)
    assert estimated(replace(study, budget={'trainer.max_time': None})) is None


def test_the_sum_of_the_gains_is_relative_to_the_base_of_the_same_seed(tmp_path, capsys):
    path, out = tmp_path / 'study.yaml', tmp_path / 'out'
    study = {
        **STUDY,
        'base': 'with a',
        'variants': [
            {'name': 'with a', 'paper': {'pq': 50.0, 'miou': 70.0, 'delta': 0.0}},
            {'name': 'with b', 'paper': {'pq': 51.0, 'miou': 70.5, 'delta': 1.5}},
        ],
    }
    path.write_text(yaml.safe_dump(study))
    for name, seed, pq, miou in (('a', 3, 20, 60), ('a', 4, 30, 65), ('b', 3, 21, 62)):
        folder = out / f'with_{name}' / f'seed{seed}'
        folder.mkdir(parents=True)
        scores = {'all': {'pq': pq}, 'semantic': {'miou': miou}}
        (folder / 'scores.json').write_text(json.dumps(scores))
    assert main(['ablate', str(path), '-o', str(out), '--table-only']) == 0
    results = json.loads((out / 'results.json').read_text())
    assert [row['ours']['delta'] for row in results['variants']] == [[0, 0], [3]]
    assert '| with b | 51.0 | 21.0 | 70.5 | 62.0 | 1.5 | 3.0 |' in capsys.readouterr().out


@pytest.mark.parametrize('path', study_files().values(), ids=study_files())
def test_the_papers_sums_of_gains_are_those_of_its_columns(path):
    study = load_study(path)
    base = next((v.paper for v in study.variants if v.name == study.base), None)
    for variant in study.variants:
        if base and 'delta' in variant.paper:
            total = sum(variant.paper[name] - base[name] for name in base if name != 'delta')
            assert variant.paper['delta'] == pytest.approx(total, abs=0.21), 'the paper rounds'


def test_the_tables_have_all_columns_of_the_papers():
    columns = {name: set(load_study(path).metrics) for name, path in study_files().items()}
    assert columns['einet_table3'] == {'pq', 'miou', 'ap'}
    assert columns['sognet_table1'] == {'pq', 'sq', 'rq', 'oa'}
    assert columns['sognet_table2'] == {'pq', 'sq', 'rq'}
    for table in ('pisr_table_b1', 'pisr_table_b2', 'pisr_table_b3'):
        assert columns[table] == {'pq', 'miou', 'iiou', 'delta'}


def test_an_interval_contains_the_mean_as_often_as_it_says():
    # 95 % of the intervals of 3 normal values contain the true mean.
    values = np.random.default_rng(0).normal(5, 2, (2000, 3))
    hits = np.mean([abs(v.mean() - 5) < half_interval(v) for v in values])
    assert hits == pytest.approx(0.95, abs=0.015)
    assert np.isnan(half_interval([1.0]))


@pytest.mark.parametrize(
    ('paper', 'ours', 'tau'),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [30, 20, 10], -1.0),
        ([1, 2, 3], [10, 30, 20], 1 / 3),  # one of three pairs the other way round
    ],
)
def test_rank_agreement(paper, ours, tau):
    assert rank_agreement(paper, ours) == pytest.approx(tau)


@pytest.mark.parametrize('text', ['hello', '[1]', 'variants: 3', 'variants: [x]', 'title: t'])
def test_a_file_of_another_kind_is_no_study(tmp_path, text):
    (tmp_path / 'x.yaml').write_text(text)
    with pytest.raises(ValueError, match=r'x\.yaml is not a study: expected title, source'):
        load_study(tmp_path / 'x.yaml')
