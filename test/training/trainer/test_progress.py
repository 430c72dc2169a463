# SPDX-License-Identifier: Apache-2.0
"""The budget that a training's progress shows, and its last lines."""

import math
import re
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from tiny_training import run_recorded

from panoptic_ros.core import progress
from panoptic_training.trainer.checkpoints import BestCheckpoint, LastCheckpoint
from panoptic_training.trainer.progress import last_lines, total_steps


class StoppedTimer(Timer):
    def __init__(self, elapsed, left):
        self.elapsed, self.left = elapsed, left

    def time_elapsed(self, stage='train'):
        return self.elapsed

    def time_remaining(self, stage='train'):
        return self.left


@pytest.mark.parametrize(
    ('step', 'total', 'timer', 'expected'),
    [
        (30, 120, (), (120, None)),
        (30, math.inf, (), (math.inf, None)),
        (30, math.inf, (10.0, 30.0), (120, 30.0)),
        (30, 120, (10.0, 20.0), (90, 20.0)),  # the time ends it first
        (30, 60, (10.0, 20.0), (60, None)),  # the steps end it first
        (30, 120, (10.0, -1.0), (30, -1.0)),
        (0, math.inf, (0.0, 30.0), (math.inf, None)),
        (30, 120, (10.0, None), (120, None)),
    ],
)
def test_the_budget_is_of_steps_or_of_time(step, total, timer, expected):
    trainer = SimpleNamespace(
        global_step=step,
        estimated_stepping_batches=total,
        callbacks=[StoppedTimer(*timer)] if timer else [],
    )
    assert total_steps(trainer) == expected


def make_trainer(folder, score, best_step, started=True, total=60):
    best, last = BestCheckpoint(str(folder)), LastCheckpoint(str(folder))
    best.best_model_score, best.best_step = score, best_step
    last.started = started
    return SimpleNamespace(
        global_step=40,
        estimated_stepping_batches=total,
        callbacks=[best, last],
        progress_bar_metrics={'train/loss': 1.25},
    )


@pytest.mark.parametrize(
    ('files', 'score', 'is_complete', 'started', 'lines'),
    [
        (
            ('best', 'last'),
            torch.tensor(34.56),
            True,
            True,
            [
                '40 of 60 steps; loss 1.250; best PQ 34.6 (step 20); saved to {}',
                "next: panoptic export --checkpoint '{}/checkpoints/best.ckpt' -o 'my run.onnx'",
            ],
        ),
        (
            ('last',),
            None,
            True,
            True,
            [
                '40 of 60 steps; loss 1.250; no validation; saved to {}',
                "next: panoptic export --checkpoint '{}/checkpoints/last.ckpt' -o 'my run.onnx'",
            ],
        ),
        (
            ('last',),
            None,
            False,
            True,
            [
                'stopped after 40 of 60 steps; loss 1.250; no validation yet; saved to {}',
                "next: panoptic train --config '{}/config.yaml' --ckpt_path last",
            ],
        ),
        (
            (),
            None,
            False,
            False,
            ['stopped after 40 of 60 steps; loss 1.250; no validation yet; nothing new was saved'],
        ),
    ],
)
def test_the_last_lines_name_score_folder_and_next_command(
    tmp_path, files, score, is_complete, started, lines
):
    folder = tmp_path / 'my run'
    (folder / 'checkpoints').mkdir(parents=True)
    for name in files:
        (folder / f'checkpoints/{name}.ckpt').touch()
    if files:
        (folder / 'config.yaml').touch()
    trainer = make_trainer(folder, score, 20, started)
    assert last_lines(trainer, folder, is_complete) == [line.format(folder) for line in lines]


def test_progress_and_best_step_continue_after_a_resume(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, 'LINE_EVERY_S', 0.0)
    bar = ('--trainer.enable_progress_bar', 'true')
    run_recorded(tmp_path, *bar, stop=('training', 4, 0))
    lines = capsys.readouterr().err.splitlines()
    assert ' from step 0 to 6; batches in an epoch: 4, images in a validation: 2' in lines[0]
    assert lines[1].startswith('1 of 6 steps (16 %), ') and 'left, loss ' in lines[1]
    assert any('validation 2 of 2' in line for line in lines)
    assert ', best PQ ' in lines[-1] and lines[-1].endswith(' (step 3)')
    run_recorded(tmp_path, *bar, '--ckpt_path', 'last')
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert ' from step 4 to 6; ' in lines[0]
    assert lines[1].startswith('5 of 6 steps (83 %), ') and lines[1].endswith(' (step 3)')
    assert lines[-1].startswith('6 of 6 steps (100 %), ') and ', took ' in lines[-1]
    assert re.match(r'6 of 6 steps; loss \d+\.\d+; best PQ ', out)
