# SPDX-License-Identifier: Apache-2.0
"""`panoptic demo`: the whole package at work on this machine."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.output import check_folder
from panoptic_ros.core.files import lock_folder, replace_results, run_folder

if TYPE_CHECKING:
    from rich.console import Console

    from panoptic_ros.demo.recorder import Recorder
    from panoptic_ros.node.node_health import NodeHealth
    from panoptic_ros.recordings.image_source import ImageSource
    from panoptic_ros.ros.processes import Child

STREET_SIZE = (720, 1280)
STREET_RATE_HZ = 25.0
STREETS = (6, 10)
"""Numbers in the city's test split: one drive, one view of a crossing."""
STREET_S = 4.0
"""Of each street; they are drawn once and played again and again."""

DURATION_S = 20.0
MAX_FILE_S = 60.0

START_S = 300.0
"""The longest that the node may take to load a model."""

FIRST_PICTURE_S = 60.0
SETTLE_S = 10.0

NODE_MODULE = 'panoptic_ros.ros.main'
CAMERA_MODULE = 'panoptic_ros.ros.camera_driver'


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`."""
    parser = subparsers.add_parser(
        'demo',
        help='run node and camera here, and leave a video, a bag and a summary',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Starts the ROS 2 node and a camera publisher as separate processes, shows '
        'rate, latency and\ndiagnostics while they run, and leaves overlay.mp4, '
        'contact_sheet.png, bag/ (mcap) and summary.json.\nWithout a source the '
        "camera sees the package's own synthetic street. Needs no ROS installation.",
        epilog='examples:\n  panoptic demo\n  panoptic demo --video drive.mp4 --model city.onnx',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--video', type=Path, metavar='PATH', help='play a video file, or the images of a folder'
    )
    source.add_argument(
        '--camera',
        type=int,
        metavar='NUMBER',
        help='use a camera of this machine: 0 for /dev/video0',
    )
    source.add_argument(
        '--bag', type=Path, metavar='PATH', help='play the camera images of a recorded bag'
    )
    parser.add_argument(
        '--model', type=Path, metavar='FILE', help='model file (default: the one in the package)'
    )
    parser.add_argument(
        '--duration',
        type=float,
        metavar='S',
        help=f'seconds to run (default: {DURATION_S:.0f}; of a video or bag all, '
        f'up to {MAX_FILE_S:.0f})',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('demo_output'),
        metavar='DIR',
        help='folder of the results (default: %(default)s)',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Runs the demo and prints where the results are.

    Raises:
        ValueError, OSError: in one line; results of an earlier run stay then.
    """
    from rich.console import Console

    from panoptic_ros.demo.recorder import RESULTS
    from panoptic_ros.ros.processes import (
        remove_shared_memory,
        ros_environment,
        shared_memory_files,
    )

    _check(args)
    console = Console(markup=False, highlight=False)  # paths and messages may hold brackets
    source = _given_source(args)
    os.environ.update(ros_environment(os.environ))
    memory = shared_memory_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    try:
        with lock_folder(args.output, 'demo'), run_folder(args.output) as folder:
            summary, health = _run_in(folder, source, args, console)
            replace_results(folder, args.output)
    finally:
        remove_shared_memory(memory)
    console.print(_table(health))
    console.print(json.dumps(summary), soft_wrap=True)
    for name in RESULTS:
        console.print(f'{args.output / name}', soft_wrap=True)


def _check(args: argparse.Namespace) -> None:
    if args.duration is not None and not 0 < args.duration < float('inf'):
        raise ValueError(f'--duration must be over 0 seconds, got {args.duration:g}')
    if args.model is not None and not args.model.is_file():
        raise FileNotFoundError(f'no model file at {args.model}')
    check_folder(args.output, '--output', is_folder=True)
    try:
        import rclpy  # noqa: F401
        import rosbags  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'the demo needs ROS 2 and rosbags ({error}): pip install "panoptic_ros[ros,bag]"'
        ) from None
    if args.video is None and args.camera is None and args.bag is None:
        try:
            import panoptic_training  # noqa: F401
        except ImportError:
            raise ValueError(
                'the synthetic street needs panoptic_training, which this copy of '
                'the package lacks; name a --video, --camera or --bag'
            ) from None


def _given_source(args: argparse.Namespace) -> ImageSource | None:
    """The source that the user named; None stands for the synthetic street."""
    from panoptic_ros.node.topics import OWN_IMAGE_TOPICS
    from panoptic_ros.recordings.open import open_source

    if args.video is None and args.camera is None and args.bag is None:
        return None
    return open_source(args.video, args.camera, args.bag, own_topics=OWN_IMAGE_TOPICS)


def _run_in(
    folder: Path, source: ImageSource | None, args: argparse.Namespace, console: Console
) -> tuple[dict[str, Any], NodeHealth]:
    """Starts the processes, watches them, ends them and completes the files in `folder`.

    Returns:
        The summary, and what the node said last while it was at work.
    """
    from panoptic_ros.demo.recorder import Recorder
    from panoptic_ros.node.topics import LATCHED, topic_types
    from panoptic_ros.ros.message_types import RosTypes
    from panoptic_ros.ros.monitor import Monitor
    from panoptic_ros.ros.processes import Child

    def say(line: str) -> None:
        console.print(line, style='dim', soft_wrap=True)

    duration_s = args.duration or DURATION_S
    if source and source.duration_s is not None:
        duration_s = min(args.duration or MAX_FILE_S, source.duration_s)
    rate_hz = source.rate_hz if source else STREET_RATE_HZ
    topics = topic_types(RosTypes.vision)
    node_flags = []
    if args.model:  # in quotes, for ROS reads the value as YAML
        node_flags = ['--ros-args', '-p', f'model:={json.dumps(str(args.model.resolve()))}']
    with (
        Recorder(folder, topics, LATCHED, rate_hz) as recorder,
        Monitor(recorder.take, topics) as monitor,
        Child('node', NODE_MODULE, node_flags, say) as node,
    ):
        _wait_until_active(monitor.spin, recorder, node, console)
        if source:
            flags = _camera_flags(args)
        else:
            street = _draw_street(folder / 'street.avi', duration_s, console)
            flags = ['--video', str(street), '--loop']
        console.print(
            f'camera: {source.name if source else "synthetic street"}, '
            f'{rate_hz:.1f} images/s, for {duration_s:.0f} s'
        )
        with Child('camera', CAMERA_MODULE, flags, say) as camera:
            _watch(monitor.spin, recorder, node, camera, duration_s, console)
        _settle(monitor.spin, recorder, node)
    (folder / 'street.avi').unlink(missing_ok=True)
    summary = recorder.finish()
    assert recorder.at_work is not None  # else the summary is refused
    return summary, recorder.at_work


def _camera_flags(args: argparse.Namespace) -> list[str]:
    name = next(name for name in ('video', 'camera', 'bag') if getattr(args, name) is not None)
    return [f'--{name}={getattr(args, name)}']


def _draw_street(path: Path, duration_s: float, console: Console) -> Path:
    """Draws streets of the city's test split as a video, so that the camera costs little."""
    import cv2
    from rich.progress import track

    from panoptic_training.data.synthetic import SyntheticClip
    from panoptic_training.data.synthetic.labels import TEST_SEEDS

    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*'MJPG'), STREET_RATE_HZ, STREET_SIZE[::-1]
    )
    if not writer.isOpened():
        raise ValueError(
            f'this OpenCV ({cv2.__version__}) cannot write videos; '
            'pip install opencv-python-headless'
        )
    frames = [
        (street, index) for street in STREETS for index in range(round(STREET_S * STREET_RATE_HZ))
    ]
    clips = {
        street: SyntheticClip(TEST_SEEDS[street], STREET_SIZE, STREET_RATE_HZ)
        for street in STREETS
    }
    for street, index in track(
        frames[: math.ceil(duration_s * STREET_RATE_HZ)],
        'drawing the street',
        console=console,
        transient=True,
    ):
        writer.write(cv2.cvtColor(clips[street].frame(index).image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def _wait_until_active(
    spin: Callable[[float], None], recorder: Recorder, node: Child, console: Console
) -> None:
    give_up_s = time.monotonic() + START_S
    with console.status('the node loads its model'):
        while recorder.health is None or not recorder.health.active:
            spin(0.2)
            if node.exit_code is not None:
                node.check()
                raise ChildProcessError('the node ended by itself; what it said stands above')
            if recorder.health and recorder.health.problem:
                raise ValueError(f'the node says: {recorder.health.problem}')
            if time.monotonic() > give_up_s:
                raise ValueError(f'the node did not become active within {START_S:.0f} s')


def _watch(
    spin: Callable[[float], None],
    recorder: Recorder,
    node: Child,
    camera: Child,
    duration_s: float,
    console: Console,
) -> None:
    """Shows a live line until the time is over or the source ends; Ctrl-C ends it early."""
    from rich.text import Text

    begin_s = time.monotonic()
    first_s = None
    shown = recorder.health
    with console.status('') as status:
        try:
            while camera.exit_code is None:
                spin(0.2)
                node.check()
                now_s = time.monotonic()
                if first_s is None and recorder.overlays:
                    first_s = now_s
                if first_s is None and now_s - begin_s > FIRST_PICTURE_S:
                    raise ValueError(
                        f'nothing came back from the node for {FIRST_PICTURE_S:.0f} '
                        f's; it says: {recorder.health and recorder.health.line()}'
                    )
                if first_s is not None and now_s - first_s > duration_s:
                    return
                if recorder.health and recorder.health is not shown:
                    shown = recorder.health
                    line = f'{now_s - begin_s:.0f} s: {shown.line()}'
                    status.update(Text(line))
                    if not console.is_terminal:
                        console.print(line, soft_wrap=True)
        except KeyboardInterrupt:
            console.print('ended early; the results so far are kept')
    camera.check()


def _settle(spin: Callable[[float], None], recorder: Recorder, node: Child) -> None:
    """Waits for diagnostics that count all images, so that none is left in flight."""
    ended_s = time.time()
    give_up_s = time.monotonic() + SETTLE_S
    while time.monotonic() < give_up_s:
        spin(0.2)
        node.check()
        health = recorder.health
        if health and health.stamp_s > ended_s and not health.counts['in_flight']:
            return


def _table(health: NodeHealth) -> Any:
    from rich.table import Table
    from rich.text import Text

    from panoptic_ros.node.node_health import LEVELS

    table = Table(title="The node's diagnostics")
    for column in ('task', 'status', 'values'):
        table.add_column(column)
    for task, status in health.statuses.items():
        level = LEVELS[status.level]
        said = level if status.level == 0 else f'{level}: {status.message}'
        table.add_row(*(Text(cell) for cell in (task, said, ', '.join(_short(status.values)))))
    return table


def _short(values: Mapping[str, str]) -> list[str]:
    """Each value in words; p50, p95 and max of one stage together."""
    words = []
    for key, value in values.items():
        stage = key.removesuffix(' p50 ms')
        if stage != key:
            words.append(f'{stage} {value} ms (p95 {values.get(f"{stage} p95 ms")})')
        elif not key.endswith(' ms'):
            words.append(f'{key} {value}')
    return words
