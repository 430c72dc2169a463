# SPDX-License-Identifier: Apache-2.0
"""Ablation studies: reading, running what is missing, the table."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from panoptic_ros.cli.main import main
from panoptic_ros.cli.recipes import find_recipe, study_files
from panoptic_ros.core.files import lock_folder
from panoptic_ros.models.config import configure
from panoptic_ros.models.registry import FAMILIES
from panoptic_training import ablation
from panoptic_training.ablation import Study, Variant, load_study, rank_agreement, runs_of
from panoptic_training.losses.registry import build_loss

STUDY = {
    'title': 'A table',
    'source': 'a paper',
    'recipe': 'hle_mobilenetv2_city',
    'seeds': [3, 4],
    'limit': 5,
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
    """Stands in for the commands: notes them and writes what they would leave."""
    said = []

    def panoptic(command, run, words):
        said.append(words)
        if words[0] == 'train':
            run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            run.checkpoint.touch()
        else:
            target = next(w.removeprefix('--json=') for w in words if w.startswith('--json='))
            pq = {'with_a': 20.0, 'with_b': 10.0}[run.variant.folder] + run.seed
            Path(target).write_text(json.dumps(scores_json(pq)))

    monkeypatch.setattr(ablation, '_panoptic', panoptic)
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
    assert '--limit=5' in commands[1]
    text = capsys.readouterr().out
    assert '| with a | 50.0 | 23.5 ± 0.5 |' in text
    assert 'pq -1.00' in text  # the paper has them the other way round
    results = json.loads((out / 'results.json').read_text())
    assert results['variants'][1]['ours']['pq'] == [13.0, 14.0]
    assert (out / 'table.md').read_text().count('| with') == 2


def test_only_what_is_missing_is_run_again(tmp_path, study_file, commands):
    out = tmp_path / 'out'
    main(['ablate', str(study_file), '-o', str(out)])
    (out / 'with_b' / 'seed4' / 'scores.json').unlink()
    commands.clear()
    assert main(['ablate', str(study_file), '-o', str(out)]) == 0
    assert [words[0] for words in commands] == ['train', 'evaluate']
    assert '--ckpt_path=last' in commands[0]  # resumes from the checkpoint that is there


def test_a_run_killed_before_its_last_checkpoint_starts_again(tmp_path, study_file, commands):
    best = tmp_path / 'out/with_a/seed3/checkpoints/best.ckpt'
    best.parent.mkdir(parents=True)
    best.touch()
    assert main(['ablate', str(study_file), '-o', str(tmp_path / 'out')]) == 0
    assert '--overwrite=true' in commands[0] and '--ckpt_path=last' not in commands[0]


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
    assert '--model.speed=3' in error and f'(see {out}/with_a/seed3/train.log)' in error


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
