"""`panoptic train`: a recipe and flags become a training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from panoptic_ros.labels import LabelSet

from .callbacks import EMA, LastCheckpoint, Pictures
from .datamodule import PanopticData
from .module import PanopticModule

TRAINER_KEYS = ('max_steps', 'max_epochs', 'max_time', 'precision', 'accumulate_grad_batches',
                'gradient_clip_val', 'gradient_clip_algorithm')
"""Settings of the Trainer that change what is learned; the others are about where and how."""


def recipe_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 over what a recipe says of the training: no folders, files' names only.

    Args:
        config: the resolved recipe as plain values.
    """
    model = {k: v for k, v in config['model'].items() if k != 'recipe_hash'}
    if model.get('init_weights'):
        model['init_weights'] = Path(model['init_weights']).name
    data = {**config['data'], 'dataset': config['data']['dataset'].partition(':')[0]}
    del data['num_workers']
    trainer = {key: config['trainer'].get(key) for key in TRAINER_KEYS}
    text = json.dumps([config.get('seed_everything'), model, data, trainer, config.get('ema')],
                      sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _checkpoints(folder: str) -> str:
    return str(Path(folder) / 'checkpoints')


class RecipeCLI(LightningCLI):
    """Lightning's command line for one module and one data module."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what each training has, and ties the model to the data."""
        parser.add_argument('--ckpt_path', type=str | None, default=None,
                            help='a checkpoint to go on from, or `last`')
        parser.add_lightning_class_args(EMA, 'ema')
        parser.add_lightning_class_args(ModelCheckpoint, 'best')
        parser.add_lightning_class_args(LastCheckpoint, 'last')
        parser.add_lightning_class_args(Pictures, 'pictures')
        parser.add_lightning_class_args(RichProgressBar, 'progress')
        parser.set_defaults({
            'best.monitor': 'val/pq', 'best.mode': 'max',
            'best.filename': 'best', 'best.enable_version_counter': False,
            'progress.refresh_rate': 10})
        for name in ('best', 'last'):
            parser.link_arguments('trainer.default_root_dir', f'{name}.dirpath',
                                  compute_fn=_checkpoints)
        parser.link_arguments('data.labels', 'model.labels', compute_fn=LabelSet.to_dicts,
                              apply_on='instantiate')
        parser.link_arguments('data.input_size', 'model.input_size')
        parser.link_arguments('seed_everything', 'data.seed')

    def before_instantiate_classes(self) -> None:
        """Notes the recipe's hash."""
        plain = json.loads(self.parser.dump(self.config, format='json', skip_link_targets=False))
        self.config.model.recipe_hash = recipe_hash(plain)


def make_cli(args: Sequence[str]) -> RecipeCLI:
    """Reads a recipe and flags, opens the data and builds the module; trains nothing."""
    return RecipeCLI(
        PanopticModule, PanopticData, args=list(args), run=False, seed_everything_default=0,
        save_config_kwargs={'overwrite': True},
        trainer_defaults={'default_root_dir': 'runs', 'use_distributed_sampler': False,
                          'num_sanity_val_steps': 0, 'logger': {
                              'class_path': 'TensorBoardLogger',
                              'init_args': {'save_dir': 'runs', 'name': '', 'version': ''}}})


def train(args: Sequence[str]) -> None:
    """Trains as the flags say; see `panoptic train --help`."""
    cli = make_cli(args)
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.config.ckpt_path)
