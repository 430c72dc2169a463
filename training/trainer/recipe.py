# SPDX-License-Identifier: Apache-2.0
"""`panoptic train`: a recipe and flags become a training."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import re
import signal
import sys
import threading
import warnings
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import (
    BitsandbytesPrecision,
    DoublePrecision,
    HalfPrecision,
    TransformerEnginePrecision,
)
from lightning.pytorch.utilities.exceptions import SIGTERMException

from panoptic_ros.core.files import lock_folder, write_bytes
from panoptic_ros.core.labels import LabelSet

from ..checkpoint import NonFiniteError, find_non_finite, read_checkpoint
from ..data.registry import DATASETS, check_options, dataset_list
from .callbacks import EMA, BestCheckpoint, LastCheckpoint, Pictures
from .datamodule import PanopticData
from .module import PanopticModule
from .run_folder import AtomicCheckpointIO, checkpoint_folder, find_start, require_unused

DESCRIPTION = 'Trains a model by a recipe and flags.'

TRAINER_KEYS = (
    'max_steps',
    'max_epochs',
    'max_time',
    'precision',
    'accumulate_grad_batches',
    'gradient_clip_val',
    'gradient_clip_algorithm',
)
"""Settings of the Trainer that change what is learned; the others are about where and how."""


PRECISIONS = ('32-true', 'bf16-mixed', '16-mixed')
"""Of Lightning's precisions, those that the losses and the validation work in."""

PRECISION_PLUGINS = (
    BitsandbytesPrecision,
    DoublePrecision,
    HalfPrecision,
    TransformerEnginePrecision,
)
"""How the others are called where a recipe names a plugin."""


def recipe_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 over what a recipe says of the training: no folders, files' names only.

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
    """Lightning's command line for one module and one data module."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what each training has, and ties the model to the data."""
        parser.add_argument(
            '--ckpt_path',
            type=str | None,
            default=None,
            help="a checkpoint to resume from, or `last` for this folder's",
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
        """Reads recipe and flags; a mistake is told with the keys that there are."""
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise ValueError(_with_known_keys(error.message, parser)) from None

    def before_instantiate_classes(self) -> None:
        """Checks folder, precision and what model and data must agree on; notes the hash.

        Raises:
            ValueError, FileNotFoundError: if the folder is used or lacks the checkpoint, for a
                setting of the trainer that does not work, or if the loss takes other images for
                one clip than the data gives.
        """
        self.find_start()  # before the data, which may take minutes to open
        _require_precision(self.config.trainer.precision)
        _require_steps(self.config.trainer)
        data = self.config.data
        kind = data.dataset.partition(':')[0]
        for options in (data.train, data.val):
            if options and kind in DATASETS:
                check_options(kind, options)
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
        """Where the training leaves its files."""
        return Path(self.config.trainer.default_root_dir or '.')

    def find_start(self) -> Path | None:
        """The checkpoint to resume from, if any, in a folder that may be used.

        Raises:
            ValueError, FileNotFoundError: if there is none or the folder may not be used.
        """
        start = find_start(self.folder, self.config.ckpt_path)
        if getattr(rank_zero_only, 'rank', 0) == 0:  # the process that writes
            require_unused(self.folder, start, self.config.overwrite)
        return start

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, with progress bar and TensorBoard unless the recipe says otherwise."""
        config = self.config_init.trainer
        own = config.plugins if isinstance(config.plugins, list) else [config.plugins]
        kwargs['plugins'] = [
            *(plugin for plugin in own if plugin is not None),
            AtomicCheckpointIO(self.replace_settings),
        ]
        self.old_logs = self.logs() if self.config.overwrite else []
        if config.logger is None:
            kwargs['logger'] = TensorBoardLogger(self.folder, name='', version='')
        if config.enable_progress_bar is not False:
            kwargs['callbacks'] = [*(config.callbacks or []), RichProgressBar(refresh_rate=10)]
        trainer = super().instantiate_trainer(**kwargs)
        if isinstance(trainer.precision_plugin, PRECISION_PLUGINS):
            _require_precision(type(trainer.precision_plugin).__name__)
        return trainer

    def logs(self) -> list[Path]:
        """TensorBoard's files in the folder."""
        return [*self.folder.glob('events.out.tfevents.*'), *self.folder.glob('hparams.yaml')]

    def replace_settings(self) -> None:
        """Writes config.yaml, and removes the logs of a training that this one overwrites."""
        config = self.config.clone()
        config.ckpt_path, config.overwrite = None, False  # of this call, not of the recipe
        write_bytes(
            self.parser.dump(config, skip_none=False).encode(), self.folder / 'config.yaml'
        )
        for path in self.old_logs:
            path.unlink(missing_ok=True)


def _require_precision(name: str | int | None) -> None:
    """Refuses a precision that does not work here.

    Raises:
        ValueError: with those that do.
    """
    if name is not None and str(name) not in (*PRECISIONS, '32', 'bf16', '16'):
        raise ValueError(f'trainer.precision must be one of {", ".join(PRECISIONS)}, got {name}')


def _require_steps(trainer: Any) -> None:
    """Refuses settings of the trainer with which no step is one.

    Raises:
        ValueError: with the setting.
    """
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
    """Adds to a message about an unknown key or flag which ones there are beside it."""
    found = re.search(r"Group '(\S+)' does not accept option '(\S+)'|arguments: --(\S+)", message)
    if not found:
        return message
    key = found[3] or f'{found[1]}.{found[2]}'
    group = key.partition('=')[0].rpartition('.')[0]
    every = parser.get_defaults().keys()
    keys = (
        name.removeprefix(f'{group}.').partition('.')[0]
        for name in every
        if name.startswith(f'{group}.')
    )
    known = ', '.join(dict.fromkeys(keys))
    return f'{message}; the keys of {group} are: {known}' if known else message


def make_cli(args: Sequence[str]) -> RecipeCLI:
    """Reads a recipe and flags, opens the data and builds the module; trains nothing.

    Raises:
        ValueError, OSError: for a recipe that cannot be trained, in one line.
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
                    'description': f'{DESCRIPTION}\n\nData sets:\n{dataset_list()}',
                    'exit_on_error': False,
                },
                trainer_defaults={
                    'default_root_dir': 'runs',
                    'use_distributed_sampler': False,
                    'num_sanity_val_steps': 0,
                },
            )
        except MisconfigurationException as error:
            raise ValueError(error) from None


def require_resumable(path: Path, module: PanopticModule) -> None:
    """Refuses a checkpoint that a training of this module cannot resume from.

    Raises:
        ValueError: if it is damaged, holds weights only, or is of other classes, another network
            or another optimiser.
    """
    checkpoint = read_checkpoint(path)
    own = module.configure_optimizers().state_dict()
    try:
        module.on_load_checkpoint(checkpoint)
        same = _kinds(own) == _kinds(checkpoint['optimizer_states'][0])
        moments = checkpoint['optimizer_states'][0]['state'].values()
        for key in ('callbacks', 'lr_schedulers', 'pytorch-lightning_version'):
            checkpoint[key]
        checkpoint['loops']['fit_loop']
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(
            f'{path} lacks the state of a training to resume; --model.init_weights '
            'starts from its weights alone'
        ) from None
    if not same:
        raise ValueError(f"{path} is of a training with another optimiser than the recipe's")
    if any(find_non_finite(values) for values in moments):
        raise NonFiniteError(
            f'{path}: the state of the optimiser holds NaN or infinity; '
            '--model.init_weights starts from its weights alone'
        )


def _kinds(optimizer: Mapping[str, Any]) -> list[tuple[bool, int]]:
    """What a state of an optimiser must agree in: whether it is of Adam's kind, its parameters."""
    # Not all keys of a group: versions of torch differ in them.
    return [('betas' in group, len(group['params'])) for group in optimizer['param_groups']]


def train(args: Sequence[str]) -> None:
    """Trains as the flags say; see `panoptic train --help`.

    Raises:
        ValueError, OSError: for a recipe, folder or checkpoint that cannot be used, or when the
            loss is not finite or a file cannot be written, in one line.
        KeyboardInterrupt: after Ctrl-C, when the checkpoint to resume from is written.
        SystemExit: after SIGTERM, likewise, with status 143.
    """
    cli = make_cli(args)
    cli.datamodule.require_batch(cli.trainer.world_size)
    cli.model.configure_optimizers()  # Lightning would find its mistakes after the first file
    if start := cli.find_start():
        require_resumable(start, cli.model)
    with lock_folder(cli.folder, 'training') if cli.trainer.is_global_zero else nullcontext():
        start = cli.find_start()  # another training may have ended here in the meantime
        try:
            with _without_writer_tracebacks():
                cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=start, weights_only=True)
        except MisconfigurationException as error:
            raise ValueError(error) from None
        except SIGTERMException:
            sys.exit(128 + signal.SIGTERM)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        except OSError as error:
            if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, error.strerror, str(cli.folder)) from error
            raise


@contextmanager
def _without_writer_tracebacks() -> Iterator[None]:
    """Keeps what ends TensorBoard's thread, a full disk, from being printed there.

    The thread hands its error to the training, which ends with it.
    """
    own = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if type(args.thread).__name__ != '_AsyncWriterThread':
            own(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = own
