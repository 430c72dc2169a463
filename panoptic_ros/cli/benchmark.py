# SPDX-License-Identifier: Apache-2.0
"""`panoptic benchmark`: times from a camera image to messages, of metrics and of loading."""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from panoptic_ros.cli.arguments import number, whole
from panoptic_ros.cli.model_source import model_argument, model_path
from panoptic_ros.cli.output import check_output, report_saved, table_console
from panoptic_ros.core.files import write_json
from panoptic_ros.core.model_info import PRECISIONS
from panoptic_ros.core.progress import Progress, working
from panoptic_ros.core.signals import exit_at_sigterm
from panoptic_ros.core.text import counted

MOST_CAMERAS = 16
"""Most cameras that are timed together."""

RATE_HZ = 10.0
"""Default rate of a camera."""

MAX_SIDE = 16_384
"""Largest side of the camera image, px."""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'benchmark',
        help='measure each stage from camera image to messages',
        description='Times each stage on a synthetic street: scaling (pre), network and decoding '
        '(infer), cutting out\nthe frame (post), tracking, filling messages and publishing them; '
        'the last two if ROS 2 is installed.\nOn the CPU network and decoding are also timed '
        'apart, operation by operation on one thread of\nONNX Runtime. Other work on the machine '
        'changes every number; ratios within one run hold.',
        epilog='examples:\n  panoptic benchmark city.onnx --backend onnxruntime --threads 1\n'
        '  panoptic benchmark city.onnx --peer hf\n'
        '  panoptic benchmark city.onnx --cameras 2 --rate 10 --image-size 720 1280\n'
        '  panoptic benchmark --metrics --image-size 1024 2048\n'
        '  panoptic benchmark --loading hle_mobilenetv2_city',
    )
    parser.add_argument(
        'models',
        nargs='*',
        type=model_argument,
        metavar='MODEL',
        help="model files, or checkpoints hf:... (default: the package's own, and with the "
        'training packages also the same at 512x1024 and HLE-R50 at 1024x2048)',
    )
    parser.add_argument(
        '--backend',
        default='auto',
        metavar='NAME',
        help='auto, tensorrt, tensorrt_rtx, onnxruntime or torch; a provider or mode may follow '
        'a slash, as in torch/compiled (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        default='auto',
        metavar='NAME',
        help='auto, cpu, cuda or cuda:<index>; gpu and npu for plug-ins of ONNX Runtime, as in '
        'onnxruntime/openvino (default: %(default)s)',
    )
    parser.add_argument(
        '--precision',
        default='auto',
        choices=('auto', *PRECISIONS),
        help='number format that the model file must have (default: %(default)s)',
    )
    parser.add_argument(
        '--allow-cpu', action='store_true', help='use the CPU if the device is not available'
    )
    parser.add_argument(
        '--threads',
        type=whole(1),
        metavar='N',
        help='CPU threads of the network (default: all cores)',
    )
    parser.add_argument(
        '--other-process',
        action='store_true',
        help='subscribe in another process, where the middleware copies each message, and also '
        'time until it has received all messages of an image (receive)',
    )
    parser.add_argument(
        '--peer',
        choices=('hf',),
        help="also compare the network's time on one thread of the CPU with that of Hugging "
        "Face's Mask2Former (Swin-T, random weights, nothing is downloaded) at the same size",
    )
    parser.add_argument(
        '--cameras',
        type=whole(1, MOST_CAMERAS),
        metavar='N',
        help='instead of stages, time N cameras that share the model as in the node: images in '
        'real time, their latency from arrival to the last message, and those that are dropped',
    )
    parser.add_argument(
        '--rate',
        type=number(above=0, most=1000),
        metavar='HZ',
        help=f'with --cameras: images per second of each camera (default: {RATE_HZ:g})',
    )
    parser.add_argument(
        '--metrics',
        action='store_true',
        help='time the metrics of `panoptic evaluate` instead of models',
    )
    parser.add_argument(
        '--loading',
        nargs='*',
        metavar='RECIPE',
        help='instead of models, time the loading of training images by one process and the '
        'training steps of these recipes (default: all), for `data.num_workers`',
    )
    parser.add_argument(
        '--image-size',
        type=whole(1, MAX_SIDE),
        nargs=2,
        metavar=('H', 'W'),
        help='camera image, px (default: 1080 1920; with --metrics 1024 2048)',
    )
    parser.add_argument(
        '--depth',
        type=whole(1, 64),
        metavar='STRIDE',
        help='also time positions, markers and a cloud with this points.stride, from a depth '
        'image of the size of the camera image',
    )
    parser.add_argument(
        '--seconds',
        type=number(above=0, most=3600),
        default=10,
        metavar='S',
        help='time to spend on each model (default: %(default)s)',
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='also write the table to this file: records of model, backend, device, input, '
        'operations, tensorrt_layers, stage, p50_ms, p95_ms, with --cameras of camera, received, '
        'published, ..., with --metrics of metric, image, frame_ms, ...',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and write the JSON file.

    Raises:
        ValueError: if an argument or a model file is invalid.
        FileNotFoundError: if a model file or the folder of the JSON file does not exist.
        BackendError: if the backend or the device is not available.
        ImportError: if metrics are to be timed and pycocotools is not installed, or a peer and
            transformers.
    """
    from panoptic_ros.benchmark.peer import require_peer

    height, width = args.image_size or ((1024, 2048) if args.metrics else (1080, 1920))
    check_output(args, 'json')
    if args.metrics and args.models:
        raise ValueError(f'--metrics needs no model, got {args.models[0]}')
    if args.loading is not None and (args.models or args.metrics or args.cameras or args.peer):
        raise ValueError('--loading times recipes; leave out models, --metrics, --cameras, --peer')
    if args.metrics and args.other_process:
        raise ValueError('--other-process publishes messages; leave out --metrics')
    if args.metrics and args.peer:
        raise ValueError('--peer compares models; leave out --metrics')
    if args.cameras and (args.metrics or args.peer):
        raise ValueError(
            f'--cameras times a model; leave out --{"metrics" if args.metrics else "peer"}'
        )
    if args.rate is not None and not args.cameras:
        raise ValueError('--rate is for --cameras')
    if args.peer:
        require_peer()
    measure = _metrics if args.metrics else _cameras if args.cameras else _pipeline
    measure = _loading if args.loading is not None else measure
    records = measure(args, height, width)
    if args.json:
        write_json(records, args.json)
    report_saved(counted(len(records), 'row'), args.json)


def _metrics(args: argparse.Namespace, height: int, width: int) -> list[dict[str, Any]]:
    """Time the metrics, print the table and return the records."""
    from panoptic_ros.benchmark.metrics import time_metrics
    from panoptic_ros.benchmark.report import metrics_records, metrics_table

    with working(f'timing the metrics for about {args.seconds:g} s'):
        costs = time_metrics(height, width, args.seconds)
    table_console().print(metrics_table(*costs, f'{height}x{width}'))
    return metrics_records(*costs, f'{height}x{width}')


def _loading(args: argparse.Namespace, height: int, width: int) -> list[dict[str, Any]]:
    """Time recipes, print the table and return the records."""
    from panoptic_ros.benchmark.loading import loading_records, loading_table, time_loading
    from panoptic_ros.cli.recipes import find_recipe, recipe_files

    paths = {name: find_recipe(name) for name in args.loading} or recipe_files()
    times = []
    with Progress('recipes timed', len(paths), is_even=False) as progress:
        for place, (name, path) in enumerate(paths.items()):
            progress.update(place, name)
            times.append(time_loading(name, path, args.seconds))
    table_console().print(loading_table(times))
    return loading_records(times)


def _cameras(args: argparse.Namespace, height: int, width: int) -> list[dict[str, Any]]:
    """Time cameras that share a model, print a table for each model and return the records."""
    from panoptic_ros.benchmark.cameras import time_cameras
    from panoptic_ros.benchmark.inputs import street
    from panoptic_ros.benchmark.report import cameras_records, cameras_table
    from panoptic_ros.core.resources import default_model

    paths = [model_path(source) for source in args.models] or [default_model()]
    images = street(height, width)
    records = []
    for path in paths:
        with ExitStack() as stack:
            stack.enter_context(exit_at_sigterm())
            sink = _open_sink(stack, args.depth, args.other_process)
            progress = stack.enter_context(Progress('images sent', 100))

            def show(done: float, progress: Progress = progress, name: str = path.stem) -> None:
                progress.update(100 * done, name)

            times = time_cameras(
                path,
                images,
                args.cameras,
                RATE_HZ if args.rate is None else args.rate,
                args.seconds,
                sink,
                show,
                **_backend_options(args),
            )
        table_console().print(cameras_table(times, f'{height}x{width}'))
        records += cameras_records(times, f'{height}x{width}')
    return records


def _backend_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        name: getattr(args, name)
        for name in ('backend', 'device', 'precision', 'allow_cpu', 'threads')
    }


def _pipeline(args: argparse.Namespace, height: int, width: int) -> list[dict[str, Any]]:
    """Time the models and the tracker, print the table and return the records."""
    import numpy as np

    from panoptic_ros.benchmark.inputs import standard_models, street
    from panoptic_ros.benchmark.peer import time_peer
    from panoptic_ros.benchmark.pipeline import (
        PipelineTimes,
        time_camera_motion,
        time_pipeline,
        time_tracker,
    )
    from panoptic_ros.benchmark.report import (
        peer_line,
        peer_records,
        pipeline_notes,
        pipeline_records,
        pipeline_tables,
    )
    from panoptic_ros.core.model_file import read_info

    paths = [model_path(source) for source in args.models]
    for path in paths:
        read_info(path)  # finds a bad file before the first minute of measuring
    images = street(height, width)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(exit_at_sigterm())
        sink = _open_sink(stack, args.depth, args.other_process)
        if not paths:
            with working('exporting the models to time'):
                paths = list(standard_models(folder, lambda line: print(line, file=sys.stderr)))
        progress = stack.enter_context(Progress('models timed', len(paths)))

        def time_model(index: int, path: Path) -> PipelineTimes:
            return time_pipeline(
                path,
                images,
                args.seconds,
                sink,
                lambda done: progress.update(index + done, path.stem),
                **_backend_options(args),
            )

        reports = [time_model(index, path) for index, path in enumerate(paths)]
        peers = []
        for path in paths if args.peer else ():
            progress.update(len(paths), f'peer of {path.stem}')
            peers.append(time_peer(path, args.seconds))
    console = table_console()
    for table in pipeline_tables(reports, f'{height}x{width}', console):
        console.print(table)
    for note in pipeline_notes(reports):
        console.print(note)
    for name, times in (
        ('tracker alone, 200 tracks by 200 things', time_tracker()),
        (f'camera motion alone, {height}x{width}', time_camera_motion(images)),
    ):
        console.print(
            '{}: {:.2f} / {:.2f} ms'.format(name, *np.percentile(times, (50, 95))), highlight=False
        )
    for peer in peers:
        console.print(peer_line(peer), highlight=False, soft_wrap=True)
    if sink is None:
        console.print('messages and publish were left out: rclpy is not installed')
    return [
        *(record for report in reports for record in pipeline_records(report)),
        *(record for peer in peers for record in peer_records(peer)),
    ]


def _open_sink(stack: ExitStack, points_stride: int | None, other_process: bool) -> Any:
    """Return a sink of messages and publishers, or None without ROS 2; see `MessageSink`."""
    try:
        from panoptic_ros.ros.message_sink import MessageSink
        from panoptic_ros.ros.processes import isolated_ros
    except ImportError:
        if other_process:
            raise ValueError(
                '--other-process needs ROS 2: source its setup.bash, or pip install '
                '"panoptic_ros[ros]"'
            ) from None
        return None
    if other_process:
        stack.enter_context(isolated_ros())
    return stack.enter_context(MessageSink(points_stride, other_process))
