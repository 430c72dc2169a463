# SPDX-License-Identifier: Apache-2.0
"""`panoptic score-video`: video metrics of predictions on disk."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from panoptic_ros.cli.arguments import whole
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.class_file import MAX_PIXEL_ID
from panoptic_ros.core.files import write_json
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'score-video',
        help='score video predictions on disk (VPQ, STQ, HOTA, MOTA, IDF1)',
        description="""\
Compares two folders of PNGs, one per frame, sorted by name, and prints in percent, over all
classes, things, stuff and each class:
  STQ AQ SQ        segmentation and tracking quality, its association and
                   segmentation parts
  VPQ, VPQ1..VPQ4  panoptic quality of tubes through windows of 1 to 4 frames,
                   and their mean
  HOTA DetA AssA   detection and association of things, over 19 thresholds of
                   IoU
  MOTA IDF1 IDSW   tracking of things at IoU 0.5; IDSW counts identity switches

A pixel is R + 256 G + 65536 B = class id * label divisor + track id. Track id 0 on a thing of the
ground truth is a crowd. Void is class 255, or white. A folder of sub-folders holds one clip in
each; both sides name them alike.""",
        epilog="""\
classes.yaml, as `panoptic list classes --yaml` prints it for a model:
  divisor: 1000
  classes:
    - {id: 0, name: road, kind: stuff, color: [128, 64, 128]}
    - {id: 1, name: car, kind: thing, color: [0, 0, 142]}

example:
  panoptic score-video gt/ predicted/ --labels classes.yaml --json scores.json""",
    )
    parser.add_argument('gt', type=Path, metavar='GT_DIR', help='PNGs of the ground truth')
    parser.add_argument('pred', type=Path, metavar='PRED_DIR', help='PNGs of the predictions')
    parser.add_argument(
        '--labels', type=Path, required=True, metavar='FILE', help='class file, see below'
    )
    parser.add_argument(
        '--label-divisor',
        type=whole(1, MAX_PIXEL_ID),
        metavar='N',
        help="replaces the class file's divisor (default: 1000)",
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='also write the scores to this file, with VPQ of every fifth frame (the '
        "paper's k = 0, 5, 10, 15) and every identity switch",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Score, print the tables and write the JSON file.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if a file is invalid, or the files do not fit together.
    """
    from panoptic_ros.core.class_file import read_class_file
    from panoptic_ros.metrics.video import VideoScores
    from panoptic_ros.metrics.video_files import find_frames, measure_files

    check_output(args, 'json')
    classes = read_class_file(args.labels)
    if args.label_divisor is not None:
        classes = replace(classes, divisor=args.label_divisor)
    pairs = find_frames(args.gt, args.pred)
    scores = VideoScores(classes.labels)
    frames = with_bar(measure_files(pairs, classes), len(pairs), 'frames scored')
    clip = 0
    for pair, frame in zip(pairs, frames, strict=True):
        if pair.clip != clip:
            scores.end_clip()
        clip = pair.clip
        scores.update(frame)
    result = scores.compute()
    print(f'{result.format_table()}\n\n{result.format_classes()}')
    if args.json:
        write_json({'label_divisor': classes.divisor, **result.to_dict()}, args.json)
    report_saved(f'{counted(len(pairs), "frame")} scored', args.json)
