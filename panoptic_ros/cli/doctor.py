# SPDX-License-Identifier: Apache-2.0
"""`panoptic doctor`: one page about this machine and installation, for a support request."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import write_json
from panoptic_ros.core.text import counted

STDOUT = Path('-')


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'doctor',
        help='check this machine and installation; print a page for a support request',
        description='Prints versions, ROS settings, transport profile, shared memory, processors, '
        'GPU and backends, tries the packaged model, and lists the problems that were found, each '
        'with what to do. Takes at most 20 s and changes no settings. The page holds no user '
        'name, home folder, host name or address.',
        epilog='exit status: 0 without problems, 1 with problems\n\n'
        'examples:\n  panoptic doctor\n  panoptic doctor --json | jq .problems',
    )
    parser.add_argument(
        '--json',
        nargs='?',
        type=Path,
        const=STDOUT,
        metavar='FILE',
        help='print JSON in place of the page; with FILE print the page and write JSON to the '
        'file. docs/doctor.md describes the keys',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the page or JSON.

    Returns:
        1 if there are problems, else 0.

    Raises:
        OSError: if the JSON file cannot be written.
    """
    from panoptic_ros.doctor.examine import MAX_S, examine
    from panoptic_ros.doctor.page import format_page

    if args.json not in (None, STDOUT):
        from panoptic_ros.cli.output import check_output

        check_output(args, 'json')
    if sys.stderr.isatty():
        print(f'this takes up to {MAX_S:.0f} s', file=sys.stderr)
    facts = examine()
    if args.json == STDOUT:
        print(json.dumps(facts, indent=2))
    else:
        print(format_page(facts))
        if args.json:
            from panoptic_ros.cli.output import report_saved

            write_json(facts, args.json)
            report_saved(counted(len(facts['problems']), 'problem'), args.json)
    return 1 if facts['problems'] else 0
