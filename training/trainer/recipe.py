# SPDX-License-Identifier: Apache-2.0
"""Command line of `panoptic train`: a recipe and flags become a trainer, a model and its data."""

import hashlib
import json
import math
import re
import warnings
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import (
    BitsandbytesPrecision,
    DoublePrecision,
    HalfPrecision,
    TransformerEnginePrecision,
)

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.outputs import check_folder
from panoptic_ros.core.text import MAX_REASON, one_line

from ..data.registry import DATASETS, check_renamed
from .checkpoints import BestCheckpoint, LastCheckpoint
from .datamodule import PanopticData
from .ema import EMA
from .help import DESCRIPTION, EPILOG, RecipeHelpFormatter, RecipeParser, help_text
from .module import PanopticModule
from .pictures import Pictures
from .progress import TrainingProgress
from .run_folder import AtomicCheckpointIO, checkpoint_folder, find_start, require_unused

TRAINER_KEYS = (
    'max_steps',
    'max_epochs',
    'max_time',
    'precision',
    'accumulate_grad_batches',
    'gradient_clip_val',
    'gradient_clip_algorithm',
)
"""Settings of the Trainer that affect the result and enter the recipe's hash."""

PRECISIONS = ('32-true', 'bf16-mixed', '16-mixed')
"""Lightning's precisions that losses and validation support."""

KINDS = {
    'int': 'a whole number',
    'float': 'a number',
    'bool': 'true or false',
    'str': 'a text',
    'tuple': 'a list',
    'list': 'a list',
    'dict': 'keys with values',
}
"""Types of Python in words."""

PRECISION_PLUGINS = (
    BitsandbytesPrecision,
    DoublePrecision,
    HalfPrecision,
    TransformerEnginePrecision,
)
"""Plugins of the other precisions, which a recipe could name instead."""


def recipe_hash(config: Mapping[str, Any]) -> str:
    """Return a SHA-256 of the settings that affect the result; of paths, only file names count.

    Args:
        config: the resolved recipe as plain values.
    """
    model = {k: v for k, v in config['model'].items() if k != 'recipe_hash'}
    if model.get('init_weights'):
        model['init_weights'] = Path(model['init_weights']).name
    data = {**config['data'], 'dataset': config['data']['dataset'].partition(':')[0]}
    for key in ('num_workers', 'on_error'):
        data.pop(key, None)
    trainer = {key: config['trainer'].get(key) for key in TRAINER_KEYS}
    text = json.dumps(
        [config.get('seed_everything'), model, data, trainer, config.get('ema')],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()


class RecipeCLI(LightningCLI):
    """Lightning's command line for the panoptic module and data module."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return the parser of recipes, with the flag for them."""
        parser = RecipeParser(**kwargs)
        parser.add_argument('-c', '--config', action=ActionConfigFile, metavar='RECIPE')
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the flags of all trainings, and link the model's settings to the data's."""
        parser.add_argument(
            '--ckpt_path',
            type=str | None,
            default=None,
            help='a checkpoint to resume from, or `last` for that of this folder',
        )
        parser.add_argument(
            '--overwrite',
            type=bool,
            default=False,
            nargs='?',
            const=True,
            help='start a new training in a folder that holds checkpoints; each '
            'of them stays until the new training saves its own',
        )
        parser.add_lightning_class_args(EMA, 'ema')
        parser.add_lightning_class_args(Pictures, 'pictures')
        parser.add_lightning_class_args(BestCheckpoint, 'best')
        parser.add_lightning_class_args(LastCheckpoint, 'last')
        for name in ('best', 'last'):
            parser.link_arguments(
                'trainer.default_root_dir', f'{name}.dirpath', compute_fn=_folder_text
            )
        parser.link_arguments(
            'data.labels', 'model.labels', compute_fn=LabelSet.to_dicts, apply_on='instantiate'
        )
        parser.link_arguments('data.input_size', 'model.input_size')
        parser.link_arguments('seed_everything', 'data.seed')

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse recipe and flags; the error for an unknown key lists the known ones."""
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            message = _with_known_keys(error.message, parser)
            raise ValueError(one_line(message, MAX_REASON)) from None

    def before_instantiate_classes(self) -> None:
        """Check folder, precision, and settings shared by model and data; set the recipe's hash.

        Raises:
            ValueError: for a folder in use, an unsupported setting of the trainer, an unknown
                option of the data set, or clips whose length differs between loss and data.
            OSError: for a missing checkpoint, or a folder that cannot be written to.
        """
        check_folder(self.folder, '--trainer.default_root_dir', is_folder=True)
        self.find_start()  # before the data, which may take minutes to open
        _require_precision(self.config.trainer.precision)
        _require_steps(self.config.trainer)
        data = self.config.data
        kind = data.dataset.partition(':')[0]
        for options in (data.train, data.val):
            if options and kind in DATASETS:
                check_renamed(kind, options)
        images = (self.config.model.loss or {}).get('clip_images', 1)
        clip = (data.train or {}).get('clip_length', 1)
        if images != clip or clip < 1 or data.batch_size % clip:
            raise ValueError(
                'model.loss.clip_images must be data.train.clip_length and divide '
                f'data.batch_size, got {images}, {clip} and {data.batch_size}'
            )
        plain = json.loads(self.parser.dump(self.config, format='json', skip_link_targets=False))
        self.config.model.recipe_hash = recipe_hash(plain)

    @property
    def folder(self) -> Path:
        """Folder of the training's files."""
        return Path(self.config.trainer.default_root_dir or '.')

    def find_start(self) -> Path | None:
        """Return the checkpoint to resume from, if any, and check that the folder may be used.

        Raises:
            FileNotFoundError: for a missing checkpoint.
            ValueError: for a folder that may not be used.
        """
        start = find_start(self.folder, self.config.ckpt_path)
        if getattr(rank_zero_only, 'rank', 0) == 0:  # the process that writes
            require_unused(self.folder, start, self.config.overwrite)
        return start

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Return the trainer, with progress bar and TensorBoard unless the recipe differs."""
        config = self.config_init.trainer
        own = config.plugins if isinstance(config.plugins, list) else [config.plugins]
        kwargs['plugins'] = [
            *(plugin for plugin in own if plugin is not None),
            AtomicCheckpointIO(self.replace_settings),
            *cluster_plugins(),
        ]
        self.old_logs = self.logs() if self.config.overwrite else []
        if config.logger is None:
            kwargs['logger'] = TensorBoardLogger(self.folder, name='', version='')
        if config.enable_progress_bar is not False:
            kwargs['callbacks'] = [*(config.callbacks or []), TrainingProgress()]
        if config.enable_model_summary is None:
            kwargs['enable_model_summary'] = False  # its table has one row
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError) as error:  # raised by Lightning for values of its settings
            raise ValueError(f'trainer: {one_line(error, MAX_REASON)}') from None
        _require_norm(trainer, bool(config.sync_batchnorm))
        if isinstance(trainer.precision_plugin, PRECISION_PLUGINS):
            _require_precision(type(trainer.precision_plugin).__name__)
        return trainer

    def logs(self) -> list[Path]:
        """Return TensorBoard's files in the folder."""
        return [*self.folder.glob('events.out.tfevents.*'), *self.folder.glob('hparams.yaml')]

    def replace_settings(self) -> None:
        """Write config.yaml, and remove the logs of a training that this one overwrites."""
        config = self.config.clone()
        config.ckpt_path, config.overwrite = None, False  # belong to the call, not the recipe
        write_bytes(
            self.parser.dump(config, skip_none=False).encode(), self.folder / 'config.yaml'
        )
        for path in self.old_logs:
            path.unlink(missing_ok=True)


def _require_precision(name: str | int | None) -> None:
    """Refuse an unsupported precision.

    Raises:
        ValueError: naming the supported ones.
    """
    if name is not None and str(name) not in (*PRECISIONS, '32', 'bf16', '16'):
        raise ValueError(f'trainer.precision must be one of {", ".join(PRECISIONS)}, got {name}')


def cluster_plugins() -> list[SLURMEnvironment]:
    """Return the plugin for a job of SLURM, if this is one whose processes srun starts.

    By default Lightning would ignore SIGTERM there, and write checkpoints of other names.
    """
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return [SLURMEnvironment(auto_requeue=False)]
    return []


def _require_norm(trainer: L.Trainer, sync_batchnorm: bool) -> None:
    """Refuse batch norms over several processes on CPUs, which PyTorch does not have.

    Raises:
        ValueError: naming the setting.
    """
    device = trainer.strategy.root_device.type
    if sync_batchnorm and trainer.world_size > 1 and device == 'cpu':
        raise ValueError(
            f'trainer.sync_batchnorm needs GPUs, and the {trainer.world_size} processes of this '
            'training run on CPUs; set it to false'
        )


def _require_steps(trainer: Any) -> None:
    """Refuse settings of the trainer with which no step would be taken, or a wrong one.

    Raises:
        ValueError: naming the setting.
    """
    for name in ('max_steps', 'max_epochs'):
        value = getattr(trainer, name)
        if value is not None and value != -1 and value < 1:
            raise ValueError(f'trainer.{name} must be at least 1, or -1 for no limit, got {value}')
    if trainer.accumulate_grad_batches < 1:
        raise ValueError(
            'trainer.accumulate_grad_batches must be at least 1, got '
            f'{trainer.accumulate_grad_batches}'
        )
    clip = trainer.gradient_clip_val
    if clip is not None and not 0 <= clip < math.inf:
        raise ValueError(
            f'trainer.gradient_clip_val must be null or a number of at least 0, got {clip}'
        )
    if trainer.overfit_batches:
        raise ValueError(
            'trainer.overfit_batches does not work here; make a data set of a few '
            'images, or give `synthetic` a small data.train.length'
        )


def _folder_text(root: str | None) -> str:
    return str(checkpoint_folder(root))


def _with_known_keys(message: str, parser: LightningArgumentParser) -> str:
    """Append known keys to a message about an unknown key or flag, and the most similar one."""
    wrong = re.search(
        r'Parser key "(\S+?)":\s+Expected a (?:<class .(\w+).>|tuple with (\d+) elements). '
        r'Got value: (.*)',
        message,
    )
    if wrong:
        key, kind, length, value = wrong.groups()
        expected = f'a list of {length} values' if length else KINDS.get(kind, kind)
        meaning = next((help_text(one) for one in parser._actions if one.dest == key), '')
        return f'{key} must be {expected}, got {"nothing" if value == "None" else value}' + (
            f'; it is: {meaning}' if meaning else ''
        )
    found = re.search(r"Group '(\S+)' does not accept option '(\S+)'|arguments: --(\S+)", message)
    if not found:
        return message
    key = found[3] or f'{found[1]}.{found[2]}'
    *groups, name = key.partition('=')[0].split('.')
    rest: list[str] = []
    while not (known := _keys_of(groups, parser)):  # the last group is unknown too
        rest.insert(0, name)
        name = groups.pop()
    dashes = '--' if found[3] else ''
    for near in get_close_matches(name, known, 1):
        message += f'; did you mean {dashes}{".".join([*groups, near, *rest])}?'
    if groups:
        message += f'; the keys of {".".join(groups)} are: {", ".join(known)}'
    return message


def _keys_of(groups: Sequence[str], parser: LightningArgumentParser) -> list[str]:
    """Return the keys in a group that is given by its path; empty for an unknown group."""
    prefix = ''.join(f'{group}.' for group in groups)
    every = parser.get_defaults().keys()
    names = [name.removeprefix(prefix) for name in every if name.startswith(prefix)]
    return list(dict.fromkeys(name.partition('.')[0] for name in names))


def make_cli(args: Sequence[str]) -> RecipeCLI:
    """Parse a recipe and flags, open the data and build the module, without training.

    Raises:
        ValueError: for an invalid recipe or flag.
        OSError: for a missing or unreadable file.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'LightningCLI.s args parameter')
        try:
            return RecipeCLI(
                PanopticModule,
                PanopticData,
                args=list(args),
                run=False,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                save_config_callback=None,
                parser_kwargs={
                    'prog': 'panoptic train',
                    'usage': 'panoptic train --config RECIPE [--KEY VALUE ...]',
                    'description': DESCRIPTION,
                    'epilog': EPILOG,
                    'formatter_class': RecipeHelpFormatter,
                    'exit_on_error': False,
                    'allow_abbrev': False,
                },
                trainer_defaults={
                    'default_root_dir': 'runs',
                    'use_distributed_sampler': False,
                    'num_sanity_val_steps': 0,
                },
            )
        except MisconfigurationException as error:
            raise ValueError(error) from None
        except (AttributeError, OverflowError, RuntimeError, TypeError) as error:
            # Raised by libraries for values that no check of this package refuses.
            text = f'{type(error).__name__}: {one_line(error, MAX_REASON)}'
            raise ValueError(f'the recipe cannot be used: {text}') from error
