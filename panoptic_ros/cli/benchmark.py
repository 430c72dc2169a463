# SPDX-License-Identifier: Apache-2.0
"""`panoptic benchmark`: where the time goes from a camera image to published messages."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.output import check_folder
from panoptic_ros.core.files import write_json
from panoptic_ros.node.stages import Stage

if TYPE_CHECKING:
    from panoptic_ros.benchmark.pipeline import Report
    from panoptic_ros.core.image import CameraImage

MODEL_STAGES = tuple(stage.key for stage in (Stage.NETWORK, Stage.DECODE, Stage.INFER))


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`."""
    parser = subparsers.add_parser(
        'benchmark',
        help='measure each stage from camera image to messages',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Times each stage on a synthetic street: scaling (pre), network, decoding, '
        'cutting out the\nframe (post), tracking, filling messages and publishing '
        'them; the last two where ROS 2 is\nthere. Other work on the machine shows in '
        'every number; ratios within one run hold.',
        epilog='examples:\n  panoptic benchmark city.onnx --backend onnxruntime --threads 1\n'
        '  panoptic benchmark --metrics --image-size 1024 2048',
    )
    parser.add_argument(
        'models',
        nargs='*',
        type=Path,
        metavar='MODEL',
        help="model files (default: the package's own, and with the training "
        'packages also the same at 512x1024 and HLE-R50 at 1024x2048)',
    )
    parser.add_argument(
        '--backend',
        default='auto',
        metavar='NAME',
        help='auto, tensorrt, onnxruntime or torch; a provider or mode may follow '
        'a slash, as in torch/compiled (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        default='auto',
        metavar='NAME',
        help='auto, cpu, cuda or cuda:<index> (default: %(default)s)',
    )
    parser.add_argument('--precision', default='auto', choices=('auto', 'fp32', 'fp16'))
    parser.add_argument(
        '--allow-cpu', action='store_true', help='go on with the CPU where the device is not there'
    )
    parser.add_argument(
        '--threads', type=int, metavar='N', help='CPU threads of the network (default: all cores)'
    )
    parser.add_argument(
        '--metrics',
        action='store_true',
        help='time the scores of `panoptic evaluate` in place of models',
    )
    parser.add_argument(
        '--image-size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='camera image, px (default: 1080 1920; with --metrics 1024 2048)',
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=10,
        metavar='S',
        help='how long to measure each model (default: %(default)s)',
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='write the table here too: records of model, backend, device, input, '
        'stage, p50_ms, p95_ms, or with --metrics of metric, image, '
        'frame_ms, ...',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measures, prints the table and writes the JSON file.

    Raises:
        ValueError, FileNotFoundError, BackendError: in one line.
    """
    height, width = args.image_size or ((1024, 2048) if args.metrics else (1080, 1920))
    if min(height, width) < 1 or args.seconds <= 0 or (args.threads or 1) < 1:
        raise ValueError('--image-size, --seconds and --threads must be over 0')
    check_folder(args.json, '--json')
    if args.metrics:
        if args.models:
            raise ValueError(f'--metrics needs no model, got {args.models[0]}')
        from panoptic_ros.cli.metric_speed import run_metrics

        run_metrics(height, width, args.seconds, args.json)
        return
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from panoptic_ros.benchmark.pipeline import measure, time_tracker
    from panoptic_ros.core.model_file import read_info

    for path in args.models:
        read_info(path)  # a bad file is told before the first minute of measuring
    images = street(height, width)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        sink = _open_sink(stack)
        reports = [
            measure(
                path,
                images,
                args.seconds,
                sink,
                _mover(progress, path.stem),
                backend=args.backend,
                device=args.device,
                precision=args.precision,
                allow_cpu=args.allow_cpu,
                threads=args.threads,
            )
            for path in args.models or standard_models(folder, progress)
        ]
    console = Console()
    console.print(table(reports, f'{height}x{width}'))
    for report in reports:
        if report.fallback_reason:
            console.print(f'{report.info.name} on the CPU: {report.fallback_reason}')
    console.print(
        'tracker alone, 200 tracks by 200 things: {:.2f} / {:.2f} ms'.format(
            *np.percentile(time_tracker(), (50, 95))
        ),
        highlight=False,
    )
    if sink is None:
        console.print('messages and publish were left out: rclpy is not installed')
    if args.json:
        write_json([record for report in reports for record in report.records()], args.json)


def street(height: int, width: int, count: int = 16) -> list[CameraImage]:
    """Frames of the synthetic street; noise where `panoptic_training` is not installed."""
    import cv2
    import numpy as np

    from panoptic_ros.core.image import CameraImage

    try:
        from panoptic_training.data.synthetic import SyntheticClip
    except ImportError:
        noise = np.random.default_rng(0).integers(0, 256, (count, 32, 64, 3), np.uint8)
        frames = list(noise)
    else:
        clip = SyntheticClip(0)
        frames = [clip.frame(i).image for i in range(count)]
    return [CameraImage(cv2.resize(frame, (width, height))) for frame in frames]


def standard_models(folder: Path, progress: Any) -> Iterator[Path]:
    """The package's model, then larger ones, exported into the folder where torch is there."""
    from panoptic_ros.core.resources import default_model

    own = default_model()
    yield own
    try:
        from panoptic_ros.cli.export import load_model
        from panoptic_ros.models.registry import build
        from panoptic_training.export import export_model
    except ImportError as error:
        progress.console.print(f'larger models were left out: {error}')
        return
    module, info = load_model(own)
    larger = folder / f'{own.stem}_512x1024.onnx'
    export_model(module, larger, (512, 1024), name=info.name)
    yield larger
    resnet = folder / 'hle_resnet50.onnx'
    export_model(
        build('hle', info.labels, backbone='resnet50', stride=4),
        resnet,
        (1024, 2048),
        name='hle_resnet50 (untrained)',
    )
    yield resnet


def table(reports: list[Report], image_size: str) -> Any:
    """One column for each model, one row for each stage: p50 / p95 in ms."""
    import numpy as np
    from rich import box
    from rich.table import Table

    result = Table(
        'ms: p50 / p95',
        title=f'camera image {image_size}',
        title_justify='left',
        box=box.SIMPLE_HEAD,
    )
    for report in reports:
        height, width = report.info.input_size
        result.add_column(
            f'{report.info.name}\n{height}x{width}\n{report.backend}\n{report.device}',
            justify='right',
        )

    def add(name: str, cells: list[str]) -> None:
        result.add_row(name, *cells)

    for stage in (one.key for one in Stage):
        if not any(stage in report.stages_ms for report in reports):
            continue
        add(
            stage,
            [
                '{:.2f} / {:.2f}'.format(*np.percentile(report.stages_ms[stage], (50, 95)))
                if stage in report.stages_ms
                else ''
                for report in reports
            ],
        )
    # Image by image: medians of stages do not add up on a machine with other work.
    times = [report.stages_ms for report in reports]
    add(
        'decode : network',
        [f'{np.median(t["decode"] / t["network"]):.2f}' if 'network' in t else '' for t in times],
    )
    add(
        'all but the model',
        [
            '{:.2f} / {:.2f}'.format(
                *np.percentile(t['total'] - sum(t[s] for s in MODEL_STAGES if s in t), (50, 95))
            )
            for t in times
        ],
    )
    add('images', [str(len(report.stages_ms['total'])) for report in reports])
    add('rate, Hz', [f'{report.rate_hz:.1f}' for report in reports])
    add('peak memory, MB', [f'{report.peak_bytes / 1e6:.0f}' for report in reports])
    return result


def _mover(progress: Any, name: str) -> Callable[[float], None]:
    """A bar of its own, as a function that sets how much is done, 0 to 1."""
    task = progress.add_task(name, total=1.0)

    def move(done: float) -> None:
        progress.update(task, completed=done)

    return move


def _open_sink(stack: ExitStack) -> Any:
    """Messages and publishers, or None without ROS 2."""
    try:
        from panoptic_ros.ros.message_sink import MessageSink
    except ImportError:
        return None
    return stack.enter_context(MessageSink())
