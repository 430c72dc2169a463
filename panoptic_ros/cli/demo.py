# SPDX-License-Identifier: Apache-2.0
"""`panoptic demo`: a run of the node with a camera on this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import number, whole
from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import check_output, report_saved, table_console
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.text import counted
from panoptic_ros.demo import DURATION_S, MAX_FILE_S, RERUN_FILE, RESULTS

if TYPE_CHECKING:
    from panoptic_ros.node.node_health import NodeHealth


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'demo',
        help='run the node with a camera; record a video, a bag and a summary',
        description='Starts the ROS 2 node and a camera driver as separate processes, shows rate, '
        'latency and\ndiagnostics while they run, and writes overlay.mp4, contact_sheet.png, bag/ '
        '(MCAP) and\nsummary.json. Without a source the camera shows a synthetic street. A ROS '
        'installation is\nnot needed.',
        epilog='examples:\n  panoptic demo\n  panoptic demo --video drive.mp4 --model city.onnx',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--video', type=Path, metavar='PATH', help='play a video file or a folder of images'
    )
    source.add_argument(
        '--camera',
        type=whole(0),
        metavar='NUMBER',
        help='use a camera of this machine; 0 is /dev/video0',
    )
    source.add_argument(
        '--bag', type=Path, metavar='PATH', help='play the camera images of a recorded bag'
    )
    parser.add_argument(
        '--model',
        type=model_argument,
        metavar='MODEL',
        help=f'{MODEL_HELP} (default: the one in the package)',
    )
    parser.add_argument(
        '--duration',
        type=number(above=0),
        metavar='S',
        help=f'seconds to run (default: {DURATION_S:.0f}; with a video or a bag its duration, '
        f'at most {MAX_FILE_S:.0f})',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('demo_output'),
        metavar='DIR',
        help='folder of the results (default: %(default)s)',
    )
    parser.add_argument(
        '--rerun',
        action='store_true',
        help=f'also write {RERUN_FILE}, which the Rerun viewer opens (needs rerun-sdk)',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Run the demo and print where the results are.

    Raises:
        ValueError: if an argument is out of its range, or a needed package is not installed;
            see also `run_demo`.
        OSError: if a file cannot be read or written.
    """
    _check(args)
    from panoptic_ros.demo.run import run_demo

    console = table_console(markup=False, highlight=False)  # paths and messages may hold brackets
    summary, health = run_demo(
        args.output,
        console,
        args.video,
        args.camera,
        args.bag,
        args.model,
        args.duration,
        args.rerun,
    )
    console.print(_table(health))
    console.print(json.dumps(summary), soft_wrap=True)
    published = counted(summary['published'], 'image')
    report_saved(
        f'{published} published',
        args.output,
        names=[name for name in RESULTS.names if (args.output / name).exists()],
        next_command=('replay', str(args.output / 'bag')),
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong arguments and missing packages before anything starts."""
    check_output(args, 'output', RESULTS)
    if args.model is not None:
        args.model = model_path(args.model)
        read_info(args.model)  # finds a bad file before processes are started
    try:
        import rclpy  # noqa: F401
        import rosbags  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'the demo needs ROS 2 and rosbags ({error}): pip install "panoptic_ros[ros,bag]"'
        ) from None
    if args.rerun:
        try:
            import rerun  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f'--rerun needs rerun-sdk ({error}): pip install "panoptic_ros[rerun]"'
            ) from None
    if args.video is None and args.camera is None and args.bag is None:
        try:
            import panoptic_training  # noqa: F401
        except ImportError:
            raise ValueError(
                'the synthetic street needs panoptic_training, which is not installed; '
                'name a --video, --camera or --bag'
            ) from None


def _table(health: NodeHealth) -> Any:
    """Return the node's diagnostics as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="The node's last diagnostics while images came")
    for column in ('task', 'status', 'values'):
        table.add_column(column)
    for task, status in health.statuses.items():
        level = status.level.name
        state = f'{level}: {status.message}' if status.level else level
        table.add_row(*(Text(cell) for cell in (task, state, ', '.join(_short(status.values)))))
    return table


def _short(values: Mapping[str, str]) -> list[str]:
    """Return the values as words, with p50 and p95 of a stage together."""
    words = []
    for key, value in values.items():
        stage = key.removesuffix(' p50 ms')
        if stage != key:
            words.append(f'{stage} {value} ms (p95 {values.get(f"{stage} p95 ms")})')
        elif not key.endswith(' ms'):
            words.append(f'{key} {value}')
    return words
