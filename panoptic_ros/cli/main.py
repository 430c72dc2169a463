"""The `panoptic` command: one file beside this for each of its commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import panoptic_ros
from panoptic_ros.runtime.backend import BackendError

COMMANDS = ('data', 'train', 'evaluate', 'score', 'score-video', 'evaluate-tracking',
            'tune-tracker', 'ablate', 'export', 'benchmark', 'replay', 'demo', 'list')


def make_parser() -> argparse.ArgumentParser:
    """The command line with all commands; loads nothing heavy."""
    parser = argparse.ArgumentParser(
        prog='panoptic', usage='%(prog)s [-h] [--version] COMMAND ...',
        description=panoptic_ros.__doc__,
        epilog='`panoptic COMMAND --help` tells more about a command.')
    parser.add_argument('--version', action='version',
                        version=f'panoptic_ros {panoptic_ros.__version__}')
    # A long metavar makes the column wide enough for argparse to put a help text beside each name.
    subparsers = parser.add_subparsers(title='commands', prog='panoptic', required=True,
                                       metavar='COMMAND ARGUMENTS ...')
    for name in COMMANDS:
        import_module(f'panoptic_ros.cli.{name.replace("-", "_")}').add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0, or 1 where a command looked for faults and found some, or 2 after one
        line on stderr about what is wrong, or 130 after Ctrl-C.
    """
    own = list(sys.argv[1:] if argv is None else argv)
    passed_on: list[str] | None = None
    if own[:1] == ['train']:  # Lightning's command line reads the flags, --help among them
        own, passed_on = own[:1], own[1:]
    args = make_parser().parse_args(own)
    if passed_on is not None:
        args.flags = passed_on
    try:
        status: int | None = args.func(args)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, BackendError, ImportError) as error:
        text = ' '.join(str(error).split())
        if isinstance(error, ImportError) and 'install' not in text:
            text += '; this command needs more packages: pip install "panoptic_ros[train]"'
        print(f'panoptic: error: {text}', file=sys.stderr)
        return 2
    return status or 0


if __name__ == '__main__':
    sys.exit(main())
