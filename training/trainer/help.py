# SPDX-License-Identifier: Apache-2.0
"""Help of `panoptic train`: this package's keys first, then those of Lightning's Trainer."""

import argparse
import re
from typing import Any

from docstring_parser import parse_from_object
from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.cli import LightningArgumentParser

from ..data.augment import AugmentConfig
from ..data.registry import dataset_list
from .optimizers import OptimizerConfig

DESCRIPTION = f"""\
Trains a model by a recipe, a YAML file whose keys are listed below. Each key is also a flag, which
replaces the recipe's value. `panoptic list recipes` names the recipes of the package.

Data sets for data.dataset:
{dataset_list()}"""

EPILOG = """\
examples:
  panoptic train --config hle_mobilenetv2_city
  panoptic train --config my_recipe.yaml --data.batch_size 4 --trainer.default_root_dir runs/b
  panoptic train --config runs/b/config.yaml --ckpt_path last      resumes after a stop
  panoptic train --config hle_mobilenetv2_own --data.dataset coco:my_data --print_config"""

TITLES = {
    None: 'options',
    'data': 'data: the images and labels to train and validate on',
    'data.augment': 'data.augment: random changes of training images',
    'model': 'model: the network, its loss and the learning rate',
    'model.optimizer': 'model.optimizer',
    'ema': 'ema: moving average of the weights, which is validated and exported',
    'pictures': 'pictures: predictions beside the ground truth, for TensorBoard',
    'trainer': "trainer: length, device and precision; the keys of Lightning's Trainer",
}
"""Titles of the groups by key, in the order of the help; None holds the flags without a group.
Groups whose keys are all set from others are not shown."""

HIDDEN = (
    'model.recipe_hash',
    'trainer.barebones',
    'trainer.detect_anomaly',
    'trainer.enable_autolog_hparams',
    'trainer.enable_checkpointing',
    'trainer.fast_dev_run',
    'trainer.inference_mode',
    'trainer.limit_predict_batches',
    'trainer.limit_test_batches',
    'trainer.logger',
    'trainer.model_registry',
    'trainer.num_sanity_val_steps',
    'trainer.overfit_batches',
    'trainer.plugins',
    'trainer.profiler',
    'trainer.reload_dataloaders_every_n_epochs',
    'trainer.sync_batchnorm',
    'trainer.use_distributed_sampler',
)
"""Keys that the help leaves out: a training sets them, does not use them, or they serve the
development of Lightning modules."""

HELPS = {
    'config': 'the recipe: a name of `panoptic list recipes` or a YAML file; may be repeated, '
    'later ones replace values of earlier ones',
    'help': 'show this help message and exit',
    'print_config': 'print the recipe with all flags and defaults, and exit',
    'seed_everything': 'seed of all random numbers; true for a random seed',
    'model.family': 'the model family, see `panoptic list families`',
    'model.network': "settings of the family's network; docs/models/ lists them",
    'model.loss': "settings of the family's loss; docs/models/ lists them",
    'trainer.accelerator': 'cpu, gpu or auto',
    'trainer.strategy': 'auto, or ddp for several devices',
    'trainer.devices': 'number of devices, a list of their indices, -1 for all, or auto',
    'trainer.num_nodes': 'number of computers',
    'trainer.precision': '32-true, bf16-mixed or 16-mixed',
    'trainer.callbacks': 'further callbacks, by class path',
    'trainer.default_root_dir': 'folder for checkpoints/, config.yaml and TensorBoard logs',
    'trainer.enable_progress_bar': 'show the progress: a bar in a terminal, else a line a minute',
    'trainer.enable_model_summary': "print Lightning's table of the model",
    'trainer.min_epochs': 'smallest number of epochs',
    'trainer.min_steps': 'smallest number of steps',
    'trainer.limit_train_batches': 'use only this number or share of the batches of an epoch',
    'trainer.limit_val_batches': 'validate only on this number or share of the images',
    'trainer.val_check_interval': 'validate after this number of batches, or share of an epoch',
    'trainer.check_val_every_n_epoch': 'validate after this number of epochs; null: the interval '
    'counts batches across epochs',
    'trainer.log_every_n_steps': 'steps between two values in TensorBoard (50 if not set)',
    'trainer.accumulate_grad_batches': 'batches whose mean gradient makes a step',
    'trainer.gradient_clip_val': 'largest gradient; null for no limit',
    'trainer.gradient_clip_algorithm': 'whether the limit is that of the norm or of each value: '
    'norm or value',
    'trainer.deterministic': 'use deterministic operations only: true, false or warn',
    'trainer.benchmark': 'let cuDNN choose its fastest kernels by measuring',
    'data.train': 'further options of the data set for the split train',
    'data.val': 'further options of the data set for the split val',
    'trainer.max_time': 'end after this time, as DD:HH:MM:SS',
    'trainer.max_steps': 'end after this number of steps; -1 for no limit',
    'trainer.max_epochs': 'end after this number of epochs; -1 for no limit',
    **{
        f'{group}.{field.arg_name}': field.description or ''
        for group, config in (
            ('data.augment', AugmentConfig),
            ('model.optimizer', OptimizerConfig),
        )
        for field in parse_from_object(config).params
    },
}
"""Help texts that replace those of libraries and docstrings."""

METAVARS = {int: 'N', float: 'X', bool: 'true|false'}
"""Names of values by type; those of other types are VALUE."""


HELPLESS = ('config', 'print_config', 'overwrite')
"""Flags whose invocation argparse formats."""


def help_text(action: argparse.Action) -> str:
    """Return what a key means, in one line without the default."""
    text = HELPS.get(action.dest) or (action.help or '').partition('. ')[0]
    text = re.sub(r'\s*Default: ``.*?``\.?', '', text).replace('``', '`').rstrip('. ')
    return text[0].lower() + text[1:] if text[1:2].islower() else text


class RecipeHelpFormatter(DefaultHelpFormatter):
    """Formatter with a short entry for each key: kind of value, meaning, default."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.nargs == 0 or action.dest in HELPLESS:
            return super()._format_action_invocation(action)
        value = METAVARS.get(getattr(action, '_typehint', str), 'VALUE')
        return f'{action.option_strings[0]} {value}'

    def _get_help_string(self, action: argparse.Action) -> str:
        text = help_text(action)
        if action.required:
            text += ' (required)'
        elif action.default not in (None, argparse.SUPPRESS):
            text += f' (default: {_plain(action.default)})'
        return text.replace('%', '%%')


class RecipeParser(LightningArgumentParser):
    """Parser of recipes and flags, with a help of its own."""

    def format_help(self, *args: Any) -> str:
        """Return the help, with the groups in the order of TITLES."""
        own: Any = self._action_groups
        groups: Any = []
        for key, title in TITLES.items():
            # In the first two groups, argparse collects arguments without a group.
            group = own[1] if key is None else (self.groups or {})[key]
            shown = argparse._ArgumentGroup(self, title)
            shown._group_actions = [
                action for action in group._group_actions if _is_shown(action, key)
            ]
            groups.append(shown)
        self._action_groups = groups
        try:
            return super().format_help(*args)
        finally:
            self._action_groups = own


def _is_shown(action: argparse.Action, group: str | None) -> bool:
    """Return whether an action is a key to show, neither a whole group nor the help of a class."""
    name = action.dest
    is_class_help = bool(group) and (name.endswith('.help') or name == argparse.SUPPRESS)
    return name not in HIDDEN and name != group and not is_class_help


def _plain(value: Any) -> str:
    """Return a default as a recipe writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(str, value))}]'
    return str(value) if value != '' else "''"
