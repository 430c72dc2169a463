# SPDX-License-Identifier: Apache-2.0
"""Trainings of several processes over gloo, started by torchrun."""

import json

import pytest
import torch
from distributed_training import STEADY, launch, parallel, recorder_flags
from tiny_training import read_ckpt, tiny_flags

from panoptic_ros.cli.main import main
from panoptic_training.trainer.recipe import cluster_plugins

FAMILIES = {
    'hle': ({}, {'loss': 'ce'}),
    'panoptic_deeplab': ({}, {'hard_pixels': 1}),
    'einet': ({}, {'hard_pixels': 1}),
    'ciae': ({}, {}),
}
"""Changes of network and loss: the Lovász loss sorts, and the hardest pixels are chosen, among the
pixels of a process."""

SLURM = {'SLURM_NTASKS': '2', 'SLURM_NTASKS_PER_NODE': '2'}


def flags_of(folder, family, processes, batch, *more):
    network, loss = FAMILIES[family]
    words = tiny_flags(folder, *STEADY, '--data.batch_size', str(batch), *more)
    recipe = folder / 'recipe.yaml'
    if family != 'hle':
        text = recipe.read_text()
        start, end = text.index('model:'), text.index('  lr:')
        recipe.write_text(f'{text[:start]}model:\n  family: {family}\n{text[end:]}')
        from panoptic_ros.models.registry import FAMILIES as ROWS

        network = {**ROWS[family].small, **network}
    words += ['--model.network', json.dumps(network)] if network else []
    words += ['--model.loss', json.dumps(loss)] if loss else []
    return words + (parallel(processes) if processes > 1 else [])


def records(path, processes):
    return [
        json.loads(path.with_name(f'{path.name}_{i}.json').read_text()) for i in range(processes)
    ]


def images_of(found):
    """Return the images in the records of all processes."""
    return [name for one in found for *_, names in one for name in names]


@pytest.mark.parametrize(
    'family',
    [
        'panoptic_deeplab',
        *(pytest.param(name, marks=pytest.mark.slow) for name in ('hle', 'einet', 'ciae')),
    ],
)
def test_two_processes_have_the_losses_of_one_with_the_doubled_batch(tmp_path, family):
    """Ten steps, with norms frozen and without augmentation."""
    losses = {}
    for processes, batch in ((1, 4), (2, 2)):
        path = tmp_path / f'losses{processes}'
        more = ('--trainer.max_steps', '10', '--data.train.length', '16', *recorder_flags(path))
        run = launch(
            flags_of(tmp_path / str(processes), family, processes, batch, *more), processes
        )
        assert run.returncode == 0, run.stdout + run.stderr
        found = records(path, processes)
        assert [[step for step, *_ in one] for one in found] == [list(range(1, 11))] * processes
        losses[processes] = torch.tensor([[loss for _, loss, _ in one] for one in found]).mean(0)
    assert losses[1].std() > 1e-3  # they change
    assert (losses[1] - losses[2]).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(('before', 'after'), [(2, 1), (1, 2)])
def test_a_training_resumes_with_another_number_of_processes(tmp_path, before, after):
    """16 samples an epoch; after half of it the rest follows, each sample once."""
    paths = [tmp_path / name for name in ('whole', 'first', 'second')]
    more = ('--data.train.length', '16', '--data.num_workers', '0')
    whole = flags_of(tmp_path / 'whole', 'hle', 1, 2, *more, *recorder_flags(paths[0]))
    run = launch([*whole, '--trainer.max_steps', '8'], 1)
    assert run.returncode == 0, run.stdout + run.stderr
    steps, left = 8 // (2 * before), 8 // (2 * after)
    stopped = recorder_flags(paths[1], stop_at=steps)
    first = flags_of(tmp_path / 'run', 'hle', before, 2, *more, *stopped)
    assert launch([*first, '--trainer.max_steps', '100'], before).returncode != 0
    second = flags_of(tmp_path / 'run', 'hle', after, 2, *more, *recorder_flags(paths[2]))
    words = ('--ckpt_path', 'last', '--trainer.max_steps', str(steps + left + 1))
    run = launch([*second, *words], after)
    assert run.returncode == 0, run.stdout + run.stderr
    resumed = records(paths[2], after)
    assert [step for step, *_ in resumed[0]] == list(range(steps + 1, steps + left + 2))
    epoch = images_of(records(paths[0], 1))
    done, rest = images_of(records(paths[1], before)), images_of([one[:left] for one in resumed])
    assert len(set(epoch)) == 16 and sorted(done) == sorted(epoch[:8])
    assert sorted(rest) == sorted(epoch[8:])
    # The next epoch has other streets.
    assert not {*images_of([one[left:] for one in resumed])} & {*epoch}


@pytest.mark.slow
def test_uneven_shares_train_and_are_validated_as_by_one_process(tmp_path):
    """9 training and 3 validation images for 2 processes; the weights stay as they are."""
    scores = {}
    for processes in (1, 2):
        folder, path = tmp_path / str(processes), tmp_path / f'losses{processes}'
        more = ('--trainer.max_steps', '4', '--trainer.val_check_interval', '2')
        more += ('--model.lr', '1e-30', '--data.val.length', '3', '--data.train.length', '9')
        more += ('--data.train.frames_per_clip', '1', *recorder_flags(path))
        words = flags_of(folder, 'hle', processes, 2, *more)
        words[words.index('--trainer.limit_val_batches') + 1] = '1.0'
        run = launch(words, processes)
        assert run.returncode == 0, run.stdout + run.stderr
        # 9 // 2 = 4 samples for each of two processes, of which all take the same steps.
        assert [len(one) for one in records(path, processes)] == [4] * processes
        best = read_ckpt(folder, 'best')['callbacks']
        scores[processes] = next(
            float(state['best_model_score'])
            for state in best.values()
            if state.get('best_model_score') is not None
        )
    assert scores[1] == pytest.approx(scores[2], abs=1e-3)


def test_batch_norms_over_cpu_processes_are_refused_in_one_line(tmp_path, capsys):
    flags = tiny_flags(tmp_path, *parallel(2), '--trainer.sync_batchnorm', 'true')
    assert main(['train', *flags]) == 2
    assert capsys.readouterr().err.splitlines() == [
        'panoptic: error: trainer.sync_batchnorm needs GPUs, and the 2 processes of this training '
        'run on CPUs; set it to false'
    ]


@pytest.mark.parametrize(
    ('environment', 'plugins'),
    [
        ({}, 0),
        ({**SLURM, 'SLURM_JOB_NAME': 'train'}, 1),
        ({**SLURM, 'SLURM_JOB_NAME': 'bash'}, 0),  # a terminal in a job
        ({**SLURM, 'SLURM_JOB_NAME': 'train', 'TORCHELASTIC_RUN_ID': 'a'}, 0),
    ],
)
def test_a_job_of_slurm_stops_at_sigterm_as_elsewhere(monkeypatch, environment, plugins):
    for name in (*SLURM, 'SLURM_JOB_NAME', 'TORCHELASTIC_RUN_ID'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = cluster_plugins()
    assert len(found) == plugins
    assert not any(one.auto_requeue for one in found)
