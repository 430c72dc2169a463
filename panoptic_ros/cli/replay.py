# SPDX-License-Identifier: Apache-2.0
"""`panoptic replay`: replay of a recording through the node's pipeline, scores and report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import add_image_topics, add_rate, add_stride, number
from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import check_output, report_saved, table_console
from panoptic_ros.core.files import lock_folder, write_json
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

if TYPE_CHECKING:
    from panoptic_ros.replay.compare import Comparison
    from panoptic_ros.replay.finished_run import ReplayRun


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'replay',
        help='run a recorded bag through the pipeline; results bag, scores, report',
        description='Processes every image of a bag (rosbag2, ROS 1), a video or a folder of '
        "images in order with\nthe node's own pipeline, without ROS. Writes report.html, "
        'summary.json, frames.jsonl (a line\nper image), counts.json, overlay.mp4 and bag/ (mcap) '
        "with the node's topics. The results do not depend on\nthe load of the machine; "
        'an interrupted replay resumes.',
        epilog='examples:\n'
        '  panoptic replay drive --model city.onnx -o out/\n'
        '  panoptic replay drive --config node.yaml --gt /ground_truth/panoptic \\\n'
        '      -o out_gt/\n'
        '  panoptic replay drive --gt labels/ --start 10 --duration 5 -o out_part/\n'
        '  panoptic replay drive --live --rate 2.0 -o out_live/\n'
        '  panoptic replay --compare out_a/ out_b/ -o difference/',
    )
    parser.add_argument(
        'bag',
        type=Path,
        nargs='?',
        metavar='BAG',
        help='folder of a rosbag2, an .mcap, .db3 or .bag file, a video, or a folder of images',
    )
    parser.add_argument(
        '--model',
        type=model_argument,
        metavar='MODEL',
        help=f"{MODEL_HELP} (default: the configuration's, else the package's own)",
    )
    parser.add_argument(
        '--config',
        type=Path,
        metavar='FILE',
        help='parameter file of the node, as for ros2 run --params-file',
    )
    add_image_topics(parser)
    parser.add_argument(
        '--depth',
        action='append',
        default=[],
        metavar='TOPIC',
        help='depth for positions and boxes in metres; for several cameras CAMERA=TOPIC, once for '
        'each (default: depth or depth/compressedDepth beside the images)',
    )
    parser.add_argument(
        '--camera-info',
        action='append',
        default=[],
        metavar='TOPIC',
        help='camera_info, likewise (default: camera_info beside the images)',
    )
    parser.add_argument(
        '--gt',
        action='append',
        default=[],
        metavar='TOPIC|FOLDER',
        help='ground truth: a topic of the bag, or a folder of <stamp in ns>.png with '
        'classes.yaml; for several cameras CAMERA=TOPIC|FOLDER, once for each',
    )
    parser.add_argument(
        '--start',
        type=number(least=0),
        default=0.0,
        metavar='S',
        help='skip the first S seconds (default: 0)',
    )
    parser.add_argument(
        '--duration',
        type=number(above=0),
        metavar='S',
        help='replay S seconds (default: to the end)',
    )
    add_stride(parser, 'replay')
    parser.add_argument(
        '--live',
        action='store_true',
        help='also play the bag to the running node, and report the effect of dropped images',
    )
    add_rate(parser)
    parser.add_argument(
        '--compare', type=Path, nargs=2, metavar=('A', 'B'), help='compare two finished replays'
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='DIR',
        help='folder of the results (default: replay_output; with --compare none, '
        'the table is printed)',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Replay a recording, or compare two replays.

    Raises:
        ValueError, OSError: if an option or a file cannot be used.
        BackendError: if the model cannot be run.
    """
    if not args.compare:
        args.output = args.output or Path('replay_output')
    from panoptic_ros.replay.resume import COMPARISON, RESULTS

    check_output(args, 'output', COMPARISON if args.compare else RESULTS)
    if args.compare:
        first, second = args.compare
        _compare(first, second, args.output)
        return
    if args.bag is None:
        raise ValueError('name a bag to replay, or --compare A B')
    rate = 1.0 if args.rate is None else args.rate
    if args.rate is not None and not args.live:
        raise ValueError('--rate is for --live; lock-step processes images as fast as possible')
    if args.live and not find_spec('rclpy'):
        raise ValueError(
            '--live needs ROS 2: source an installation, or pip install "panoptic_ros[ros]"'
        )

    from panoptic_ros.replay.report import check_packages

    check_packages()
    with lock_folder(args.output, 'replay'):
        images = _replay(args, rate)
    names = [name for name in RESULTS.names if (args.output / name).exists()]
    report_saved(f'{counted(images, "image")} replayed', args.output, names=names)


def _replay(args: argparse.Namespace, rate: float) -> int:
    """Replay into a folder that is locked, and return the number of images."""
    from panoptic_ros.replay.session import Session

    session = Session(
        args.bag,
        None if args.model is None else model_path(args.model),
        args.config,
        args.image,
        args.gt,
        (args.start, args.duration, args.stride),
        args.depth,
        args.camera_info,
    )
    for line in session.describe():
        print(line)
    count = session.count()

    def progress(images: Iterator[Any]) -> Iterator[Any]:
        return with_bar(images, count, 'images replayed')

    if args.live:
        from panoptic_ros.ros.replay_live import run_live

        summary, _ = run_live(session, args.config, args.output, rate, progress, print)
    else:
        summary, _ = session.replay(args.output, progress, print)
    return int(summary['frames']['replayed'])


def _compare(a: Path, b: Path, output: Path | None) -> None:
    """Print a comparison of two replays; write compare.html and compare.json into `output`."""
    from rich.table import Table

    from panoptic_ros.replay.bootstrap import LEVEL
    from panoptic_ros.replay.compare import compare_replays
    from panoptic_ros.replay.finished_run import read_run

    runs = read_run(a), read_run(b)
    comparison = compare_replays(*runs)
    console = table_console(markup=False, highlight=False)
    for side in ('a', 'b'):
        fact = {one.name: getattr(one, side) for one in comparison.facts}
        console.print(
            f'{side.upper()} {fact["folder"]}: model {fact["model"]} ({fact["model file"]}, '
            f'{fact["model hash"]}), {counted(int(fact["images"]), "image")}, '
            f'replayed {fact["replayed"]}',
            soft_wrap=True,
        )
    table = Table(title=f'{counted(comparison.paired, "image")} in both')
    for column in ('', 'A', 'B', 'B - A', f'{100 * LEVEL:.0f} % interval'):
        table.add_column(column, justify='right' if column else 'left')
    for row in comparison.rows:
        table.add_row(row.title, *row.cells(), style='bold' if row.is_clear else '')
    console.print(table)
    for line in comparison.differing:
        console.print(f'not the same: {line}', soft_wrap=True)
    if output:
        _write_comparison(comparison, runs, (a, b), output)


def _write_comparison(
    comparison: Comparison,
    runs: tuple[ReplayRun, ReplayRun],
    folders: tuple[Path, Path],
    output: Path,
) -> None:
    """Write compare.html, with the images that changed most, and compare.json."""
    from panoptic_ros.replay.changes import find_changes
    from panoptic_ros.replay.report import check_packages, write_comparison
    from panoptic_ros.replay.resume import COMPARISON

    check_packages()
    output.mkdir(parents=True, exist_ok=True)
    changes, problem = [], ''
    try:
        changes = find_changes(
            runs,
            folders,
            comparison.pairs,
            lambda images: with_bar(images, comparison.paired, 'images compared'),
        )
    except (OSError, ValueError) as error:  # the figures do not need the bags
        problem = str(error)
        print(f'no pictures: {problem}')
    write_json(
        {**comparison.to_dict(), 'changed': [change.to_dict() for change in changes]},
        output / 'compare.json',
    )
    write_comparison(output / 'compare.html', comparison, changes, problem)
    report_saved(f'{counted(comparison.paired, "image")} compared', output, names=COMPARISON.names)
