# SPDX-License-Identifier: Apache-2.0
"""A training small enough for tests: some steps on 64 x 128 frames of the synthetic city."""

import logging
import signal
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RECIPE = """
trainer:
  accelerator: cpu
  max_steps: 6
  max_epochs: -1
  val_check_interval: 3
  check_val_every_n_epoch: null
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
model:
  family: hle
  network:
    backbone: mobilenetv2_035
    separable: true
    aspp_channels: 16
    low_level_channels: 8
    decoder_channels: 16
    top_k: 12
    stride: 4
  lr: 1.0e-3
  warmup_steps: 2
data:
  dataset: synthetic
  input_size: [64, 128]
  batch_size: 2
  num_workers: 0
  train: {length: 8, frames_per_clip: 4, size: [64, 128]}
  val: {length: 2, size: [64, 128]}
"""
"""Epochs of 4 steps; validation after the steps 3 and 6 on 2 images."""


WATCHED = 'model.head.weight'
"""The parameter that tests follow through the training."""


def tiny_flags(folder: Path, *more: str) -> list[str]:
    """Return flags of `panoptic train` for the recipe, with results in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / 'recipe.yaml'
    recipe.write_text(RECIPE)
    return ['--config', str(recipe), '--trainer.default_root_dir', str(folder), *more]


def fit_tiny(folder: Path, *more: str):
    """Train in this process; return Lightning's command line with model, data and trainer."""
    from panoptic_training.trainer.recipe import make_cli

    cli = make_cli(tiny_flags(folder, *more))
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True)
    return cli


def read_ckpt(folder: Path, name: str = 'last'):
    """Read a checkpoint of the training in `folder`, without unpickling anything."""
    import torch

    return torch.load(folder / f'checkpoints/{name}.ckpt', weights_only=True)


@dataclass
class Training:
    """Record of a training."""

    folder: Path
    steps: list[Any] = field(default_factory=list)
    """Watched parameter after each step."""

    batches: list[Any] = field(default_factory=list)
    """(step, index in the epoch, loss) of each batch."""

    validated: list[Any] = field(default_factory=list)
    """(step, index, the watched parameter) of each validation image."""

    messages: list[str] = field(default_factory=list)
    """Log records and warnings."""


class _Messages(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def run_recorded(folder: Path, *more: str, stop: tuple[str, int, int] | None = None) -> Training:
    """Train with `panoptic train`, and record the events.

    Args:
        folder: for the results.
        more: flags.
        stop: ('training' or 'validation', step, index) of a Ctrl-C.
    """
    from panoptic_ros.cli.main import main
    from panoptic_training.trainer.ema import EMA
    from panoptic_training.trainer.module import PanopticModule

    training = Training(folder)
    own = (PanopticModule.training_step, PanopticModule.validation_step, EMA.on_train_batch_end)

    def training_step(self, batch, index):
        if stop == ('training', self.trainer.global_step, index):
            raise KeyboardInterrupt
        loss = own[0](self, batch, index)
        training.batches.append((self.trainer.global_step, index, loss.item()))
        return loss

    def validation_step(self, sample, index):
        if stop == ('validation', self.trainer.global_step, index):
            raise KeyboardInterrupt
        value = self.get_parameter(WATCHED).detach().clone()
        training.validated.append((self.trainer.global_step, index, value))
        return own[1](self, sample, index)

    def on_train_batch_end(self, trainer, module, *args):
        training.steps.append(module.get_parameter(WATCHED).detach().clone())
        own[2](self, trainer, module, *args)

    handler, logger = _Messages(training.messages), logging.getLogger('lightning.pytorch')
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        patch.setattr(PanopticModule, 'training_step', training_step)
        patch.setattr(PanopticModule, 'validation_step', validation_step)
        patch.setattr(EMA, 'on_train_batch_end', on_train_batch_end)
        warnings.simplefilter('always')
        logger.addHandler(handler)
        try:
            status = main(['train', *tiny_flags(folder, *more)])
        finally:
            logger.removeHandler(handler)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning disables it
    training.messages += [str(warning.message) for warning in caught]
    assert status == (130 if stop else 0)
    return training
