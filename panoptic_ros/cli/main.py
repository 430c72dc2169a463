# SPDX-License-Identifier: Apache-2.0
"""The `panoptic` command; each of its commands has a file in this package."""

import argparse
import os
import select
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from panoptic_ros.cli.arguments import Parser
from panoptic_ros.cli.errors import INTERNAL, explain, keep_traceback
from panoptic_ros.core.version import __version__

COMMANDS = (
    'predict',
    'data',
    'train',
    'evaluate',
    'score',
    'score-video',
    'evaluate-tracking',
    'tune-tracker',
    'tune-decoder',
    'figures',
    'ablate',
    'export',
    'quantize',
    'calibrate',
    'build',
    'benchmark',
    'replay',
    'mine',
    'suite',
    'demo',
    'list',
    'doctor',
)

TRACEBACK = '--traceback'
CLOSED_PIPE = 141
"""Exit status after the reader of the output has closed it; shells use it for SIGPIPE."""


def make_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of these commands, without importing heavy packages."""
    parser = Parser(
        prog='panoptic',
        usage='%(prog)s [-h] [--version] [--traceback] COMMAND ...',
        description='Panoptic segmentation for ROS 2: models, runtime, tracking, metrics, node.',
        epilog='See `panoptic COMMAND --help` for the arguments of a command.',
    )
    parser.add_argument('--version', action='version', version=f'panoptic_ros {__version__}')
    parser.add_argument(
        TRACEBACK,
        action='store_true',  # main() removes it first, at any position
        help='print the traceback of an error',
    )
    # A long metavar widens the column, so that argparse prints each help text beside its name.
    subparsers = parser.add_subparsers(
        title='commands', prog='panoptic', required=True, metavar='COMMAND ARGUMENTS ...'
    )
    for name in commands:
        import_module(f'panoptic_ros.cli.{name.replace("-", "_")}').add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit status: 0 on success; 1 if a check found faults, or after an internal error; 2
        after an error in the input, with one line on stderr; 130 after Ctrl-C; 141 after the
        reader of the output has closed it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    shows_traceback = TRACEBACK in words
    words = [word for word in words if word != TRACEBACK]
    flags: list[str] | None = None
    if words[:1] == ['train']:  # Lightning's command line parses its flags, --help included
        words, flags = words[:1], words[1:]
    args = argparse.Namespace()
    try:
        # A broken package stops only the commands that need it.
        known = [name for name in words[:1] if name in COMMANDS]
        args = make_parser(known or COMMANDS).parse_args(words)
        if flags is not None:
            args.flags = flags
        status: int | None = args.func(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:  # rich's console raises it after its reader has closed the pipe
        if isinstance(error.__context__, BrokenPipeError):
            return CLOSED_PIPE
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            _discard_output()
            return CLOSED_PIPE
        if shows_traceback:
            traceback.print_exception(error)
        status, line = explain(error, args)
        if status == INTERNAL and not shows_traceback:
            line += f'; {keep_traceback(error)}'
        print(f'panoptic: error: {line}', file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # full disk, for example; at exit Python would retry and print a traceback
            _discard_output()
    return status or 0


def _output_is_closed() -> bool:
    """Return whether standard output is a pipe that its reader has closed."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # not a file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard_output() -> None:
    """Send the rest of standard output to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == '__main__':
    sys.exit(main())
