# SPDX-License-Identifier: Apache-2.0
"""Recipes of `panoptic train`, up to the module and the data, without a training."""

import sys
import warnings
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import torch

from fuzz import mutate
from fuzz.case import CANARY, Case, Target, Wrong
from fuzz.targets.yaml_files import dump, require_unique_keys
from fuzz.targets.yaml_files import load as load_yaml
from panoptic_ros.cli.train import name_recipes
from panoptic_training.trainer.recipe import make_cli

sys.path.insert(0, str(Path(__file__).parents[2] / 'helpers'))

from tiny_training import RECIPE

NAME = 'recipe.yaml'

CLASSES = (
    *('subprocess.Popen', 'os.mkdir', 'lightning.pytorch.callbacks.Timer', 'no.such.Class', 'x'),
    *('lightning.pytorch.loggers.CSVLogger', 'torch.optim.SGD', 'builtins.eval', 'pdb', '..'),
)
KEYS = (
    *('trainer.callbacks', 'trainer.logger', 'trainer.plugins', 'trainer.strategy', 'model.lr'),
    *('trainer.precision', 'trainer.max_time', 'trainer.devices', 'trainer.profiler', 'data.val'),
    *('trainer.gradient_clip_val', 'model.loss', 'model.optimizer', 'data.augment', 'data.crop'),
    *('model.milestones', 'ema', 'pictures', 'best', 'last', 'seed_everything', 'ckpt_path'),
    *('model.init_weights', 'data.on_error', 'model.power', 'data.train', 'trainer.max_epochs'),
)


def make_recipe(rng: Random) -> Case:
    document = load_yaml(RECIPE)
    kind = rng.random()
    if kind < 0.05:
        return Case({NAME: dump(document).encode()}, {'intact': True})
    if kind < 0.45:
        document = mutate.value(rng, document)
    elif kind < 0.75:
        *groups, name = rng.choice(KEYS).split('.')
        inside = document
        for group in groups:
            inside = inside.setdefault(group, {})
        inside[name] = setting(rng)
    try:
        text = dump(document)
    except RecursionError:
        text = '{}'
    return Case({NAME: mutate.yaml_text(rng, text) if kind > 0.7 else text.encode()})


def setting(rng: Random) -> Any:
    """Return a value, which may name a class with arguments."""
    if rng.random() < 0.5:
        return mutate.anything(rng)
    value = {'class_path': rng.choice(CLASSES), 'init_args': {'args': ['mkdir', CANARY]}}
    return rng.choice((value, [value], value['class_path'], value | {'init_args': {}}))


def check_recipe(case: Case, folder: Path) -> None:
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        flags = ['--config', str(folder / NAME), '--trainer.default_root_dir', str(folder)]
        cli = make_cli(name_recipes(flags))
        cli.datamodule.require_batch(cli.trainer.world_size)
        cli.model.configure_optimizers()
    torch.random.set_rng_state(state)
    require_unique_keys(case.files[NAME])
    document = load_yaml(case.files[NAME].decode('utf-8-sig'))
    for group in ('model', 'data', 'trainer'):
        for key, value in (document.get(group) or {}).items():
            with suppress(KeyError):
                got = cli.config[group][key]
                if (
                    isinstance(value, (int, float))
                    and not isinstance(value, bool)
                    and got != value
                ):
                    raise Wrong(f'setting: {group}.{key} is {got!r}, the recipe says {value!r}')


TARGETS = (Target('recipe', make_recipe, check_recipe, passes_on=True),)
