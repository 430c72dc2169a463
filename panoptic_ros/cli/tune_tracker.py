# SPDX-License-Identifier: Apache-2.0
"""`panoptic tune-tracker`: search of the tracker's settings on synthetic validation video."""

import argparse
from typing import Any

from panoptic_ros.cli.arguments import whole
from panoptic_ros.cli.evaluate_tracking import add_clip_arguments, load_clips
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted, did_you_mean


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'tune-tracker',
        help="search the tracker's settings on synthetic video",
        description='Searches the settings that give the best mean of STQ, IDF1 and HOTA on clips '
        'of the synthetic city,\nwith all frames and with every 2nd and 5th, and '
        'prints them as parameters. An interrupted search\nresumes.',
        epilog='examples:\n'
        '  panoptic tune-tracker\n'
        '  panoptic tune-tracker --tracker "IoU only" --trials 200',
    )
    add_clip_arguments(parser, split='val', clips=24, frames=60)
    parser.add_argument(
        '--tracker',
        default='default',
        metavar='NAME',
        help='default, "with camera motion", "without embeddings" or "IoU only" '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--trials',
        type=whole(1),
        default=200,
        metavar='N',
        help='total number, including earlier calls (default: %(default)s)',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Search and print the best settings.

    Raises:
        ValueError: if an argument is out of range or does not fit the model.
        OSError: if a file cannot be read or written.
        BackendError: if the model cannot be run.
    """
    check_output(args, 'cache', Results())
    from rich.console import Console

    from panoptic_training.data.synthetic import LABELS
    from panoptic_training.tracking.study import TRACKERS
    from panoptic_training.tracking.tune import keys_of, search

    if args.tracker not in TRACKERS:
        present = ' (now called default)' if args.tracker == 'ours' else ''
        hint = present or did_you_mean(args.tracker, TRACKERS)
        raise ValueError(
            f'--tracker must be one of {", ".join(TRACKERS)}, got {args.tracker}{hint}'
        )
    clips = load_clips(args)
    start = TRACKERS[args.tracker]
    database = args.cache / f'tune-{args.tracker.replace(" ", "_")}.db'
    trials = search(clips, LABELS, start, database, args.trials)
    best = start
    for best, value in with_bar(trials, args.trials, 'trials'):  # noqa: B007  the last is the best
        pass
    console = Console()
    console.print(f'{args.tracker}: {value:.2f} (mean of STQ, IDF1 and HOTA)', highlight=False)
    for key in keys_of(start):
        console.print(f'  {key}: {getattr(best, key)}', highlight=False)
    report_saved(f'best of {counted(args.trials, "trial")}', database)
