# SPDX-License-Identifier: Apache-2.0
"""The `panoptic` command: one file beside this for each of its commands."""

from __future__ import annotations

import argparse
import os
import select
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from panoptic_ros.cli.errors import INTERNAL, explain, keep_traceback
from panoptic_ros.core.version import __version__

COMMANDS = (
    'data',
    'train',
    'evaluate',
    'score',
    'score-video',
    'evaluate-tracking',
    'tune-tracker',
    'ablate',
    'export',
    'benchmark',
    'replay',
    'demo',
    'list',
)

TRACEBACK = '--traceback'
CLOSED_PIPE = 141
"""Exit status of a command whose reader is gone, as shells give it for the signal SIGPIPE."""


def make_parser() -> argparse.ArgumentParser:
    """The command line with all commands; loads nothing heavy."""
    parser = argparse.ArgumentParser(
        prog='panoptic',
        usage='%(prog)s [-h] [--version] [--traceback] COMMAND ...',
        description='Panoptic segmentation for ROS 2: models, runtime, tracking, metrics, node.',
        epilog='`panoptic COMMAND --help` tells more about a command.',
    )
    parser.add_argument('--version', action='version', version=f'panoptic_ros {__version__}')
    parser.add_argument(
        TRACEBACK,
        action='store_true',  # taken out before, wherever it stands
        help='show where in the program an error comes from',
    )
    # A long metavar makes the column wide enough for argparse to put a help text beside each name.
    subparsers = parser.add_subparsers(
        title='commands', prog='panoptic', required=True, metavar='COMMAND ARGUMENTS ...'
    )
    for name in COMMANDS:
        import_module(f'panoptic_ros.cli.{name.replace("-", "_")}').add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0, or 1 where a command looked for faults and found some, or after an
        error in the program itself, or 2 after one line on stderr about what is wrong with the
        input, or 130 after Ctrl-C, or 141 when the reader of the output is gone.
    """
    own = list(sys.argv[1:] if argv is None else argv)
    shows_traceback = TRACEBACK in own
    own = [word for word in own if word != TRACEBACK]
    passed_on: list[str] | None = None
    if own[:1] == ['train']:  # Lightning's command line reads the flags, --help among them
        own, passed_on = own[:1], own[1:]
    args = argparse.Namespace()
    try:
        args = make_parser().parse_args(own)
        if passed_on is not None:
            args.flags = passed_on
        status: int | None = args.func(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:  # rich's console ends so when its reader is gone
        if isinstance(error.__context__, BrokenPipeError):
            return CLOSED_PIPE
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            _drop_output()
            return CLOSED_PIPE
        if shows_traceback:
            traceback.print_exception(error)
        status, line = explain(error, args)
        if status == INTERNAL and not shows_traceback:
            line += f'; {keep_traceback(error)}'
        print(f'panoptic: error: {line}', file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # as on a full disk; Python would try again and show a traceback
            _drop_output()
    return status or 0


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # not a file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_output() -> None:
    """Lets what is still to be printed go nowhere, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == '__main__':
    sys.exit(main())
