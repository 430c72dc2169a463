# SPDX-License-Identifier: Apache-2.0
"""Trainings as `panoptic train` runs them: their files, stopping, resuming, switches."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import WATCHED, fit_tiny, read_ckpt, run_recorded, tiny_flags

from panoptic_ros.cli.main import main
from panoptic_training.checkpoint import load_checkpoint
from panoptic_training.trainer.pictures import PANEL_WIDTH
from panoptic_training.trainer.schedule import poly, warmup


def averages(steps, decay=0.999):
    """The moving average after each step, from its definition."""
    found = [steps[0]]
    for n, value in enumerate(steps[1:], 1):
        keep = min(decay, (1 + n) / (10 + n))
        found.append(keep * found[-1] + (1 - keep) * value)
    return found


def furthest(one, other):
    assert one.keys() == other.keys()
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one)


def test_each_step_has_a_finite_loss(trained):
    assert [(step, index) for step, index, _ in trained.batches] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 0),
        (5, 1),
    ]
    assert np.isfinite([loss for *_, loss in trained.batches]).all()
    assert [(step, index) for step, index, _ in trained.validated] == [
        (3, 0),
        (3, 1),
        (6, 0),
        (6, 1),
    ]


def test_two_checkpoints_of_plain_values_are_left(trained):
    assert sorted(p.name for p in trained.folder.glob('**/*.ckpt')) == ['best.ckpt', 'last.ckpt']
    assert read_ckpt(trained.folder)['global_step'] == 6
    assert read_ckpt(trained.folder, 'best')['global_step'] in (3, 6)
    settings = read_ckpt(trained.folder)['hyper_parameters']
    assert settings['family'] == 'hle' and len(settings['recipe_hash']) == 64
    assert settings['labels'][6] == {
        'class_id': 6,
        'name': 'car',
        'is_thing': True,
        'color': [0, 0, 142],
        'category_id': 6,
    }
    for name in ('best', 'last'):
        model, _ = load_checkpoint(trained.folder / f'checkpoints/{name}.ckpt')
        assert not model.training
        torch.testing.assert_close(model.semantic_mean.norm(dim=1), torch.ones(9))


def test_validation_and_checkpoints_hold_the_average(trained):
    expected = averages(trained.steps)
    for step, _, value in trained.validated:
        torch.testing.assert_close(value, expected[step - 1])
    best, last = read_ckpt(trained.folder, 'best'), read_ckpt(trained.folder)
    torch.testing.assert_close(best['state_dict'][WATCHED], expected[best['global_step'] - 1])
    torch.testing.assert_close(last['state_dict'][WATCHED], expected[-1])
    # What the training goes on with is kept beside it, at the end too.
    assert torch.equal(last['current_model_state'][WATCHED], trained.steps[-1])
    assert not torch.allclose(trained.steps[-1], expected[-1])


def test_tensorboard_has_losses_rates_scores_and_pictures(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.folder))
    events.Reload()
    names = set(events.Tags()['scalars'])
    assert {
        'train/loss',
        'train/seg',
        'train/ins',
        'train/lr',
        'val/pq',
        'val/pq_thing',
        'val/miou',
    } <= names
    np.testing.assert_allclose(
        [e.value for e in events.Scalars('train/loss')],
        [loss for *_, loss in trained.batches],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        [e.value for e in events.Scalars('train/lr')],
        [1e-3 * poly(i / 6) * warmup(i, 2) for i in range(6)],
        rtol=1e-6,
    )
    for image in range(2):
        for tag in ('val', 'maps'):  # three panels with captions each
            first, second = events.Images(f'{tag}/{image}')
            assert (first.step, second.step) == (3, 6)
            assert first.width == 3 * PANEL_WIDTH and first.height > PANEL_WIDTH / 2


def test_nothing_is_said_of_unpickling(trained):
    assert any('max_steps=6' in text for text in trained.messages)
    assert not [text for text in trained.messages if 'weights_only' in text]


@pytest.mark.parametrize(
    'stop',
    [
        ('training', 2, 2),  # half-way through an epoch
        ('training', 3, 3),  # in the epoch's last batch, right after a validation
        ('validation', 3, 1),  # of which one image is already scored
    ],
)
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(trained, tmp_path, stop):
    before = run_recorded(tmp_path, stop=stop)
    assert read_ckpt(tmp_path)['global_step'] == stop[1]
    after = run_recorded(tmp_path, '--ckpt_path', 'last')
    assert before.batches + after.batches == trained.batches
    assert [v[:2] for v in after.validated] == [
        v[:2] for v in trained.validated if v[0] > stop[1] or stop[0] == 'validation'
    ]
    whole, again = read_ckpt(trained.folder), read_ckpt(tmp_path)
    assert again['global_step'] == 6
    assert furthest(again['current_model_state'], whole['current_model_state']) == 0
    # Averaged class means are put onto their sphere once more by a repeated validation.
    assert furthest(again['state_dict'], whole['state_dict']) < 1e-6
    assert again['hyper_parameters']['recipe_hash'] == whole['hyper_parameters']['recipe_hash']
    assert not [text for text in after.messages if 'resum' in text], (
        'no warning of unreliable results'
    )


def test_a_killed_training_goes_on_from_its_last_validation(trained, tmp_path):
    (tmp_path / 'checkpoints').mkdir()
    best = read_ckpt(trained.folder, 'best')
    shutil.copy(trained.folder / 'checkpoints/best.ckpt', tmp_path / 'checkpoints/last.ckpt')
    after = run_recorded(tmp_path, '--ckpt_path', 'last')
    assert after.batches == trained.batches[best['global_step'] :]
    assert [v[:2] for v in after.validated] == [
        v[:2] for v in trained.validated if v[0] > best['global_step']
    ]


def test_the_seed_fixes_the_first_loss(trained, tmp_path):
    flags = ('--trainer.max_steps', '1', '--trainer.limit_val_batches', '0')
    other = run_recorded(tmp_path, *flags, '--seed_everything', '1')
    assert other.batches[0][:2] == (0, 0)
    assert abs(other.batches[0][2] - trained.batches[0][2]) > 1e-3


def test_clipping_bounds_a_step_and_rates_follow_the_milestones(tmp_path):
    rate, clip = 0.5, 1e-3
    cli = fit_tiny(
        tmp_path,
        '--model.optimizer.name',
        'sgd',
        '--model.optimizer.momentum',
        '0',
        '--model.optimizer.weight_decay',
        '0',
        '--model.optimizer.bias_lr_factor',
        '2',
        '--model.lr',
        str(rate),
        '--model.warmup_steps',
        '0',
        '--model.milestones',
        '[1]',
        '--trainer.gradient_clip_val',
        str(clip),
        '--trainer.max_steps',
        '2',
        '--trainer.limit_val_batches',
        '0',
    )
    torch.manual_seed(0)
    start = fit_tiny_start(tmp_path / 'start')
    change = (
        sum(
            (value.detach() - start[name]).square().sum().item()
            for name, value in cli.model.named_parameters()
            if not name.endswith('semantic_mean')
        )
        ** 0.5
    )
    # Biases go twice as fast; the second step is a tenth of the first.
    assert 0 < change <= 2 * rate * clip * 1.1 * (1 + 1e-4)
    groups = cli.trainer.optimizers[0].param_groups
    assert [round(group['lr'], 6) for group in groups] == [0.05, 0.05, 0.1]


def fit_tiny_start(folder):
    """The tiny training's parameters before its first step."""
    from panoptic_training.trainer.recipe import make_cli

    return {
        name: value.detach().clone()
        for name, value in make_cli(tiny_flags(folder)).model.named_parameters()
    }


def test_half_precision_by_flag(tmp_path):
    cli = fit_tiny(
        tmp_path,
        '--trainer.precision',
        'bf16-mixed',
        '--trainer.max_steps',
        '1',
        '--trainer.val_check_interval',
        '1',
    )
    assert torch.isfinite(cli.trainer.logged_metrics['train/loss'])
    assert cli.trainer.logged_metrics['val/miou'] >= 0
    assert {value.dtype for value in cli.model.parameters()} == {torch.float32}


def start_training(folder, *more):
    """The command in its own process group, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, '-m', 'panoptic_ros.cli.main', 'train', *tiny_flags(folder, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def is_running(pid):
    try:
        return Path(f'/proc/{pid}/cmdline').read_bytes() != b''  # empty after the process's end
    except FileNotFoundError:
        return False


def wait_for_checkpoint(process, folder):
    deadline = time.monotonic() + 240
    while not (folder / 'checkpoints/last.ckpt').exists():
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.1)


def children_of(pid):
    """The process ids of the loader's workers."""
    return [int(word) for word in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


@pytest.mark.parametrize(('stop', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_leaves_a_checkpoint_to_resume_from(tmp_path, stop, status):
    process = start_training(
        tmp_path,
        '--trainer.max_steps',
        '100000',
        '--data.num_workers',
        '1',
        '--trainer.enable_progress_bar',
        'true',
    )
    try:
        wait_for_checkpoint(process, tmp_path)
        os.killpg(process.pid, stop)  # as a terminal and `timeout` do: the workers receive it too
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, output
    step = read_ckpt(tmp_path)['global_step']
    assert step >= 3
    # Nothing else: no tips, deprecations, tables, tracebacks, and no control characters.
    first, summary, following = output.splitlines()
    assert first.startswith(f'{tmp_path}: training hle (0.3 M parameters) on cpu from step 0 to 1')
    assert re.match(rf'stopped after {step} of 100000 steps; loss [\d.]+; best PQ ', summary)
    assert summary.endswith(f'); saved to {tmp_path}')
    assert following == f'next: panoptic train --config {tmp_path}/config.yaml --ckpt_path last'
    assert output.replace('\n', '').isprintable()
    after = run_recorded(
        tmp_path,
        '--ckpt_path',
        'last',
        '--trainer.max_steps',
        str(step + 1),
        '--trainer.limit_val_batches',
        '0',
    )
    assert [(at, index) for at, index, _ in after.batches] == [(step, step % 4)]


def test_workers_end_with_a_training_that_is_killed(tmp_path):
    process = start_training(tmp_path, '--trainer.max_steps', '100000', '--data.num_workers', '1')
    try:
        wait_for_checkpoint(process, tmp_path)
        workers = children_of(process.pid)
    finally:
        process.kill()
    process.wait()
    assert workers
    deadline = time.monotonic() + 30  # they look for their parent every 5 s
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_two_processes_train_as_one_by_flag(tmp_path):
    process = start_training(
        tmp_path,
        '--trainer.devices',
        '2',
        '--trainer.strategy',
        'ddp',
        '--trainer.max_steps',
        '4',
        '--trainer.val_check_interval',
        '2',
        '--data.val.length',
        '3',
    )
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    assert 'sync_dist' not in output
    last = read_ckpt(tmp_path)
    assert last['global_step'] == 4
    # 8 samples, 2 in a batch of each of 2 processes: 2 steps are an epoch.
    assert last['loops']['fit_loop']['epoch_loop.batch_progress']['current']['ready'] == 2
    assert all(torch.isfinite(value).all() for value in last['state_dict'].values())


def test_a_checkpoint_is_scored_as_a_model_file_is(trained, tmp_path):
    path, file = trained.folder / 'checkpoints/best.ckpt', tmp_path / 'scores.json'
    assert (
        main(
            [
                'evaluate',
                '--model',
                str(path),
                '--data',
                'synthetic',
                '--limit',
                '1',
                '--json',
                str(file),
            ]
        )
        == 0
    )
    scores = json.loads(file.read_text())
    assert (scores['model'], scores['backend'], scores['images']) == ('best', 'torch/eager', 1)
    assert (scores['input_size'], scores['stride']) == ([64, 128], 4)
    settings = read_ckpt(trained.folder)['hyper_parameters']
    assert scores['recipe_hash'] == settings['recipe_hash']


@pytest.mark.parametrize(
    ('flags', 'reason'),
    [
        (['--model.network.decoder_channels', '24'], 'the checkpoint is of another network'),
        (['--ckpt_path', 'none.ckpt'], 'none.ckpt'),
        (['--ckpt_path', 'recipe.yaml'], 'recipe.yaml is not a checkpoint of `panoptic train`'),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused_in_one_line(
    trained, tmp_path, monkeypatch, capsys, flags, reason
):
    monkeypatch.chdir(tmp_path)
    flags = tiny_flags(
        tmp_path, '--ckpt_path', str(trained.folder / 'checkpoints/last.ckpt'), *flags
    )
    assert main(['train', *flags]) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_a_checkpoint_of_other_classes_is_refused(trained, tmp_path, capsys):
    checkpoint = read_ckpt(trained.folder)
    checkpoint['hyper_parameters']['labels'][6]['name'] = 'tram'
    torch.save(checkpoint, tmp_path / 'other.ckpt')
    flags = tiny_flags(tmp_path, '--ckpt_path', str(tmp_path / 'other.ckpt'))
    assert main(['train', *flags]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "'tram' (thing) in the checkpoint and 'car' (thing) in the data" in message
