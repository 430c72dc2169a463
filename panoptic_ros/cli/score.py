# SPDX-License-Identifier: Apache-2.0
"""`panoptic score`: panoptic quality of predictions on disk."""

import argparse
from pathlib import Path
from typing import Any

from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.files import write_json
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'score',
        help='score predictions on disk (COCO panoptic format)',
        description='Compares predicted panoptic segmentations with the ground truth and prints '
        'PQ, SQ and RQ in percent,\nwith the rules and the flags of panopticapi. '
        'Both sides are a JSON file and a folder of PNGs.',
        epilog='example:\n  panoptic score --gt_json_file panoptic_val.json \\\n'
        '      --pred_json_file pred.json --json scores.json',
    )
    parser.add_argument(
        '--gt_json_file',
        type=Path,
        required=True,
        metavar='FILE',
        help='JSON file with ground truth',
    )
    parser.add_argument(
        '--pred_json_file',
        type=Path,
        required=True,
        metavar='FILE',
        help='JSON file with predictions',
    )
    parser.add_argument(
        '--gt_folder',
        type=Path,
        metavar='DIR',
        help='PNGs of the ground truth (default: X if its JSON file is X.json)',
    )
    parser.add_argument(
        '--pred_folder',
        type=Path,
        metavar='DIR',
        help='PNGs of the predictions (default: X if their JSON file is X.json)',
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='also write the scores, with those of each class, to this file',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Score, print the table and write the JSON file.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if a file is invalid, or the files do not fit together.
    """
    from panoptic_ros.metrics.coco import score_files
    from panoptic_ros.metrics.panoptic import PanopticQuality

    check_output(args, 'json')
    labels, count, metrics = score_files(
        args.gt_json_file,
        args.pred_json_file,
        args.gt_folder or args.gt_json_file.with_suffix(''),
        args.pred_folder or args.pred_json_file.with_suffix(''),
    )
    total = PanopticQuality(labels)
    for metric in with_bar(metrics, count, 'images scored'):
        total.merge(metric)
    result = total.compute()
    print(result.format_table())
    if args.json:
        write_json({'images': count, **result.to_dict()}, args.json)
    report_saved(f'{counted(count, "image")} scored', args.json)
