"""`panoptic train`: train a model by a recipe."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`; its flags are read by Lightning's command line."""
    parser = subparsers.add_parser('train', help='train a model by a recipe', add_help=False)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Trains.

    Raises:
        ValueError, OSError: in one line, before the training starts.
    """
    from panoptic_training.recipe import train

    train(args.flags)
