"""`panoptic train`: train a model by a recipe."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`."""
    parser = subparsers.add_parser(
        'train', help='train a model by a recipe', add_help=False,
        description='Trains by a recipe; see training/recipes/.')
    parser.add_argument('flags', nargs=argparse.REMAINDER)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Hands the flags to Lightning's command line."""
    from panoptic_training.recipe import train

    train(args.flags)
