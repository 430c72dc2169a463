# SPDX-License-Identifier: Apache-2.0
"""`panoptic suite`: replays of many recordings, their merged scores, and their comparison."""

from __future__ import annotations

import argparse
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import add_folder_output, add_rate, whole
from panoptic_ros.cli.output import check_output, report_saved, table_console
from panoptic_ros.core.files import write_json
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.text import counted

if TYPE_CHECKING:
    from panoptic_ros.suite.compare import SuiteComparison
    from panoptic_ros.suite.executor import Execute

FAILED = 1
"""Exit status if recordings failed, or a condition of `--fail-if` holds."""

COMPARISON = Results(('compare.html', 'compare.json'), 'compare.json', 'correction')
"""Results of a comparison."""

SHOWN = 10
"""Most names of recordings that are printed in a line."""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'suite',
        help='replay many recordings, merge their scores, compare two such results',
        description='`suite run` replays every recording of a suite and merges the results; '
        '`suite compare` compares the results of two runs, with intervals.',
        epilog='See `panoptic suite run --help` and `panoptic suite compare --help`.',
    )
    topics = parser.add_subparsers(
        title='commands', required=True, metavar='COMMAND ARGUMENTS ...'
    )
    _add_run(topics)
    _add_compare(topics)


def _add_run(topics: Any) -> None:
    parser = topics.add_parser(
        'run',
        help='replay every recording of a suite and merge the results',
        description='Replays every recording of a suite as `panoptic replay` does, several at a '
        'time, into a folder of its own. Writes index.html, summary.json and recordings.parquet '
        '(a row per recording, with pyarrow) for the whole: scores of merged counts, by tag and '
        'by class, latencies, and the worst frames. A run that was stopped resumes. The exit '
        'status is 1 if recordings failed.',
        epilog='examples:\n'
        '  panoptic suite run suite.yaml -o results/\n'
        '  panoptic suite run suite.yaml --ray auto -o results/\n'
        'a suite:\n'
        "  model: city.onnx          # paths are relative to the suite's folder\n"
        '  config: node.yaml         # parameter file of the node\n'
        '  recordings:\n'
        '    - path: drives/night_*  # bags, videos, folders; or s3://bucket/drive.mcap\n'
        '      ground_truth: /ground_truth/panoptic   # or a folder, labels/{name}\n'
        '      tags: [night, rain]',
    )
    parser.add_argument('suite', type=Path, metavar='SUITE', help='the suite, a YAML file')
    add_folder_output(parser, 'folder of the results')
    parser.add_argument(
        '--ray',
        metavar='ADDRESS',
        help='run on a Ray cluster: auto (that of this machine), local (start one here) or an '
        'address (default: processes of this machine)',
    )
    parser.add_argument(
        '--workers',
        type=whole(1, 1024),
        metavar='N',
        help='recordings that are replayed at a time on this machine (default: as many as its '
        'cores and its memory allow)',
    )
    parser.add_argument(
        '--live',
        action='store_true',
        help='also play each recording to the running node, one after the other, and count '
        'dropped images',
    )
    add_rate(parser)
    parser.set_defaults(func=run)


def _add_compare(topics: Any) -> None:
    parser = topics.add_parser(
        'compare',
        help='compare the results of two runs of suites',
        description='Compares two results of `suite run` on the recordings that both have, with '
        'bootstrap intervals over recordings. Regressions are marked after a correction for the '
        'number of figures (Holm; figures of all recordings, of tags and of classes apart).',
        epilog='examples:\n'
        '  panoptic suite compare release_1/ release_2/\n'
        '  panoptic suite compare release_1/ release_2/ --fail-if "pq < -0.5" \\\n'
        '      --fail-if "regressions > 0" -o difference/\n'
        'figures of conditions, as B - A: pq, miou, stq, vpq, hota, idf1, pq@TAG, pq:CLASS;\n'
        'counts: regressions, unpaired',
    )
    for side in ('a', 'b'):
        parser.add_argument(side, type=Path, metavar=side.upper(), help='folder of results')
    parser.add_argument(
        '--fail-if',
        action='append',
        default=[],
        metavar='CONDITION',
        help='end with status 1 if this holds; repeat for more conditions',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='DIR',
        help='folder for compare.html and compare.json (default: none, the table is printed)',
    )
    parser.set_defaults(func=compare)


def run(args: argparse.Namespace) -> int:
    """Run a suite.

    Returns:
        The exit status: 1 if recordings failed.

    Raises:
        ValueError, OSError: if an option or a file cannot be used.
    """
    check_output(args, 'output', Results())
    if args.rate is not None and not args.live:
        raise ValueError('--rate is for --live; lock-step processes images as fast as possible')
    if args.live and args.ray:
        raise ValueError('--live plays recordings one after the other on this machine; drop --ray')
    if args.ray and args.workers:
        raise ValueError('--workers is for this machine; a Ray cluster has its own number')
    if args.live and not find_spec('rclpy'):
        raise ValueError(
            '--live needs ROS 2: source an installation, or pip install "panoptic_ros[ros]"'
        )
    from panoptic_ros.replay.report import check_packages

    check_packages()
    from panoptic_ros.suite.run import run_suite
    from panoptic_ros.suite.suite_file import read_suite
    from panoptic_ros.suite.table import has_parquet
    from panoptic_ros.suite.task import PAGE, SUMMARY, TABLE

    suite = read_suite(args.suite)
    rate = (args.rate or 1.0) if args.live else None
    summary = run_suite(suite, args.output, _executor(args), rate)
    for one in summary['failed']:
        print(f'failed: {one["name"]} ({one["path"]}): {one["error"]}')
    if not has_parquet():
        print(f'no {TABLE}, which needs pyarrow: pip install "panoptic_ros[fleet]"')
    recordings, frames = summary['recordings'], summary['frames']
    done = f'{recordings["done"]} of {counted(recordings["all"], "recording")} replayed'
    report_saved(
        f'{done}, {counted(frames["replayed"], "image")}',
        args.output,
        names=[name for name in (PAGE, SUMMARY, TABLE) if (args.output / name).exists()],
    )
    return FAILED if summary['failed'] else 0


def _executor(args: argparse.Namespace) -> Execute:
    if args.ray:
        from panoptic_ros.suite.on_ray import execute_on_ray

        return partial(execute_on_ray, address=args.ray)
    from panoptic_ros.suite.local import execute_locally

    return partial(execute_locally, workers=1 if args.live else args.workers)


def compare(args: argparse.Namespace) -> int:
    """Compare two results of suites.

    Returns:
        The exit status: 1 if a condition holds.

    Raises:
        ValueError, OSError: if the results cannot be compared, or a condition is not valid.
    """
    from panoptic_ros.suite.compare import compare_suites, read_suite_run
    from panoptic_ros.suite.conditions import parse_condition

    conditions = [parse_condition(text) for text in args.fail_if]
    check_output(args, 'output', COMPARISON)
    comparison = compare_suites(read_suite_run(args.a), read_suite_run(args.b))
    _print(comparison)
    if args.output:
        from panoptic_ros.pages.page import require_jinja
        from panoptic_ros.suite.page import write_comparison_page

        require_jinja('the page of a comparison')
        args.output.mkdir(parents=True, exist_ok=True)
        write_json(comparison.to_dict(), args.output / 'compare.json')
        write_comparison_page(args.output / 'compare.html', comparison)
        what = f'{counted(len(comparison.paired), "recording")} compared'
        report_saved(what, args.output, names=COMPARISON.names)
    values = comparison.values()
    failed = [condition for condition in conditions if condition.holds(values)]
    for condition in failed:
        print(f'failed: {condition}, as {condition.figure} is {values[condition.figure]:.3g}')
    return FAILED if failed else 0


def _print(comparison: SuiteComparison) -> None:
    """Print the table of a comparison."""
    from rich.table import Table

    from panoptic_ros.replay.bootstrap import LEVEL

    console = table_console(markup=False, highlight=False)
    for side, run in zip('AB', comparison.runs, strict=True):
        model, latency = run.summary['model'], run.summary['timing']['latency_ms']
        console.print(
            f'{side} {run.folder}: model {model["name"]} ({model["file"]}, {model["hash"]}), '
            f'{counted(len(run.rows), "recording")} with scores, {run.failed} failed, latency '
            f'p50 {_text(latency["p50"])} ms, p95 {_text(latency["p95"])} ms',
            soft_wrap=True,
        )
    table = Table(title=f'{counted(len(comparison.paired), "recording")} in both')
    for column in ('', 'A', 'B', 'B - A', f'{100 * LEVEL:.0f} % interval', 'corrected p', ''):
        table.add_column(column, justify='right' if column else 'left')
    for figure in comparison.figures:
        table.add_row(
            figure.key,
            _text(figure.a),
            _text(figure.b),
            _text(figure.difference, '+'),
            ' to '.join(_text(value, '+') for value in figure.interval or ()) or '-',
            '-' if figure.p is None else f'{figure.p:.3f}',
            figure.verdict,
            style='bold' if figure.verdict else '',
        )
    console.print(table)
    for names, what in (
        (comparison.unpaired, 'only in one run'),
        (comparison.other_images, 'with other numbers of images'),
    ):
        if names:
            shown = ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
            console.print(f'{counted(len(names), "recording")} {what}: {shown}', soft_wrap=True)


def _text(value: float | None, sign: str = '') -> str:
    return '-' if value is None else f'{value:{sign}.1f}'
