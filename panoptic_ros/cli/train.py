# SPDX-License-Identifier: Apache-2.0
"""`panoptic train`: train a model by a recipe."""

import argparse
from collections.abc import Sequence
from typing import Any

from panoptic_ros.cli.recipes import find_recipe, read_recipe


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`; Lightning's command line parses its flags."""
    parser = subparsers.add_parser('train', help='train a model by a recipe', add_help=False)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Train a model.

    Raises:
        ValueError: for an invalid recipe or flag, or a training that diverges.
        OSError: for a file that is missing or cannot be written.
    """
    from panoptic_training.trainer.run import train

    train(name_recipes(args.flags))


def name_recipes(flags: Sequence[str]) -> list[str]:
    """Replace the names of shipped recipes after `--config` by their paths.

    Raises:
        ValueError: if no recipe is given.
        FileNotFoundError: for a recipe that is neither a file nor shipped.
        DocumentError: for a file that is not YAML, see `read_yaml`.
    """
    if not any(flag in ('-c', '-h') or 'config' in flag or 'help' in flag for flag in flags):
        raise ValueError(
            'a training needs a recipe: --config FILE, or --config and a name that '
            '`panoptic list recipes` shows'
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
    """Return the path of a recipe, and check that it holds settings."""
    path = find_recipe(name)
    read_recipe(path)
    return str(path)
