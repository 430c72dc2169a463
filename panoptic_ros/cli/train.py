# SPDX-License-Identifier: Apache-2.0
"""`panoptic train`: train a model by a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from panoptic_ros.cli.recipes import find_recipe, recipe_files
from panoptic_ros.core.documents import read_yaml


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`; its flags are read by Lightning's command line."""
    parser = subparsers.add_parser('train', help='train a model by a recipe', add_help=False)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Trains.

    Raises:
        ValueError, OSError: in one line, before the training starts.
    """
    from panoptic_training.trainer.run import train

    train(name_recipes(args.flags))


def name_recipes(flags: Sequence[str]) -> list[str]:
    """The flags with shipped recipes' names after `--config` as paths.

    Raises:
        ValueError: if there is no recipe.
        FileNotFoundError: for a recipe that is neither a file nor shipped.
        DocumentError: for a file that is no YAML, see `read_yaml`.
    """
    if not any(flag in ('-c', '-h') or 'config' in flag or 'help' in flag for flag in flags):
        raise ValueError(
            'a training needs a recipe: --config FILE, or --config and one of: '
            + ', '.join(recipe_files())
        )
    found = []
    for before, flag in zip(('', *flags), flags, strict=False):
        name = flag.removeprefix('--config=')
        if before in ('-c', '--config'):
            flag = _read_recipe(flag)
        elif name != flag:
            flag = f'--config={_read_recipe(name)}'
        found.append(flag)
    return found


def _read_recipe(name: str) -> str:
    """The path of a recipe that holds settings."""
    path = find_recipe(name)
    if not isinstance(read_yaml(path), dict):
        raise ValueError(f'{path} is not a recipe: expected the keys trainer, model and data')
    return str(path)
