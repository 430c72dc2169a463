# SPDX-License-Identifier: Apache-2.0
"""`panoptic build`: build the engine of a model file ahead of time."""

import argparse
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import report_saved
from panoptic_ros.core.progress import Progress, format_duration

POLL_S = 0.1
"""Time between two looks at the progress, seconds."""

CANCEL_S = 3.0
"""Longest time that Ctrl-C waits for the end of the library's present step, seconds."""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'build',
        help='build the engine of a model file ahead of time',
        description='Builds the TensorRT engine that the node would build at its first start, '
        'which takes minutes, and keeps it where the node finds it. An engine is made for one '
        'model file and one version of the library. TensorRT builds for the GPU of this machine. '
        'TensorRT-RTX needs no GPU here; its engines run on every GPU from Ampere on.',
        epilog='examples:\n'
        '  panoptic build city.onnx\n'
        '  panoptic build city.onnx --backend tensorrt_rtx --engine-cache-dir engines',
    )
    parser.add_argument(
        'model',
        type=model_argument,
        nargs='?',
        metavar='MODEL',
        help=f'{MODEL_HELP} (default: the one in the package)',
    )
    parser.add_argument(
        '--backend',
        choices=('auto', 'tensorrt', 'tensorrt_rtx'),
        default='auto',
        help='library that builds; auto takes tensorrt where it and a GPU are there, else '
        'tensorrt_rtx (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        default='cuda',
        metavar='DEVICE',
        help='GPU that tensorrt builds for: cuda or cuda:<index> (default: %(default)s)',
    )
    parser.add_argument(
        '--engine-cache-dir',
        type=Path,
        metavar='DIR',
        help="the node's parameter engine_cache_dir (default: in the user's cache directory)",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Build the engine, unless it is already there.

    Raises:
        ValueError: for a model file that cannot be used.
        BackendError: if the library, the GPU or the cache cannot be used.
    """
    from panoptic_ros.core.model_file import read_info
    from panoptic_ros.runtime.engine_build import EngineBuild
    from panoptic_ros.runtime.tensorrt_backend import build_ahead

    path = model_path(args.model)
    info = read_info(path)
    progress = EngineBuild()
    built: list[tuple[Path, str]] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            built.append(
                build_ahead(
                    path,
                    info.precision,
                    args.backend,
                    args.device,
                    args.engine_cache_dir,
                    progress,
                )
            )
        except Exception as error:
            failed.append(error)
        finally:
            ended.set()

    # In a thread, since the library does not return while it builds, not even for Ctrl-C. Python
    # 3.11 takes a thread for ended if Ctrl-C interrupts `join`, so an event says when it has.
    ended = threading.Event()
    thread = threading.Thread(target=work, name='engine build', daemon=True)
    try:
        with Progress('engines built', 1, is_even=False) as bar:
            thread.start()
            while not ended.wait(POLL_S):
                note = f'{progress.phase}, {format_duration(bar.elapsed_s)}'
                bar.update(max(bar.done, progress.share or 0.0), note if progress.phase else '')
            if failed:
                raise failed[0]
            bar.update(1)
    except KeyboardInterrupt:
        progress.cancelled = True
        with suppress(KeyboardInterrupt):  # a second Ctrl-C: wait no longer
            ended.wait(CANCEL_S)
        if not ended.is_set():
            sys.stdout.flush()
            os._exit(130)  # Python's own end would wait for the library, or crash in it
        raise
    engine, target = built[0]
    report_saved(f'engine of {info.name} for {target}', engine)
