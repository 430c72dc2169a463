# SPDX-License-Identifier: Apache-2.0
"""Run of the demo: node and camera in processes of their own, and a recorder in this one."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from shutil import rmtree
from typing import Any

from rich.console import Console
from rich.text import Text

from panoptic_ros.core.files import lock_folder, replace_results, run_folder
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.resources import SCOPE, default_model
from panoptic_ros.core.text import counted
from panoptic_ros.demo import DURATION_S, MAX_FILE_S, RERUN_FILE, RESULTS
from panoptic_ros.demo.recorder import Recorder
from panoptic_ros.demo.rerun_log import RerunLog
from panoptic_ros.demo.street import RATE_HZ, STREET_BESIDE, draw_street
from panoptic_ros.node.node_health import NodeHealth
from panoptic_ros.node.topics import (
    BESIDE,
    CLOUDS,
    COMPRESSED_INPUT,
    INPUT_TYPES,
    LATCHED,
    OWN_IMAGE_TOPICS,
    POINTS,
    RECORDED_INPUT,
    topic_types,
)
from panoptic_ros.recordings.image_source import ImageSource
from panoptic_ros.recordings.open import open_source
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.ros.monitor import Monitor
from panoptic_ros.ros.processes import Child, isolated_ros

START_S = 300.0
"""Maximum time that the node may take to load a model, seconds."""

FIRST_IMAGE_S = 60.0
"""Maximum time until the node publishes a first image, seconds."""

SETTLE_S = 10.0
"""Maximum wait for diagnostics after the last image, seconds."""

SPIN_S = 0.2
"""Time between two looks at the processes, seconds."""

NO_LIMITS = {
    'diagnostics.warn_latency_ms': 1e6,
    'diagnostics.error_latency_ms': 1e6,
    'diagnostics.warn_rate_hz': 0.0,
}
"""Parameters of the node: on a slow machine the demo is slow, and nothing is wrong."""

MAX_NAMES = 20
"""Most names of classes in a line."""

STREET = 'street'
"""Bag of the synthetic street, in the folder of the results while the demo runs."""

NODE_MODULE = 'panoptic_ros.ros.main'
CAMERA_MODULE = 'panoptic_ros.ros.camera_driver'


def run_demo(
    output: Path,
    console: Console,
    video: Path | None = None,
    camera: int | None = None,
    bag: Path | None = None,
    model: Path | None = None,
    duration_s: float | None = None,
    rerun: bool = False,
) -> tuple[dict[str, Any], NodeHealth]:
    """Run node and camera, and write the results.

    Args:
        output: folder of the results, created if it does not exist. It keeps the results of an
            earlier run if this one fails.
        console: shows the progress and the output of the processes.
        video: a video file or a folder of images, in place of the synthetic street.
        camera: number of a camera of this machine, likewise.
        bag: a bag, likewise.
        model: a model file; None is the one in the package.
        duration_s: seconds to run; None is the default, see `panoptic_ros.demo`.
        rerun: whether to write a recording for the Rerun viewer too.

    Returns:
        The summary, see `NodeHealth.summary`, and the last diagnostics that counted new images.

    Raises:
        OSError: if a file cannot be read or written.
        ValueError: if a source or the model cannot be used, or the node publishes nothing.
        ChildProcessError: if the node or the camera exits early.
    """
    flags = [
        f'--{flag}={value}'
        for flag, value in (('video', video), ('camera', camera), ('bag', bag))
        if value is not None
    ]
    source = None
    if flags:
        beside = {name: INPUT_TYPES[name] for name in BESIDE}
        source = open_source(video, camera, bag, False, OWN_IMAGE_TOPICS, beside)
    with isolated_ros(), lock_folder(output, 'demo'), run_folder(output) as folder:
        for line in describe_model(model, own_street=source is None):
            console.print(line, soft_wrap=True)
        results = _run_in(folder, source, flags, model, duration_s, rerun, console)
        (output / RERUN_FILE).unlink(missing_ok=True)  # of an earlier run
        replace_results(folder, output, RESULTS.mark)
    return results


def describe_model(model: Path | None, own_street: bool) -> Iterator[str]:
    """Yield what a model can see, unless it is the packaged one on streets like its training's.

    Args:
        model: a model file; None is the one in the package.
        own_street: whether the input is the synthetic street.

    Raises:
        ValueError, OSError: if the model file cannot be read.
    """
    if model is None or model.resolve() == default_model().resolve():
        if not own_street:
            yield f'The packaged model: {SCOPE}'
        return
    names = read_info(model).labels.names
    more = f' and {len(names) - MAX_NAMES} more' if len(names) > MAX_NAMES else ''
    yield f'{model.name} finds {", ".join(names[:MAX_NAMES])}{more}.'


def _run_in(
    folder: Path,
    source: ImageSource | None,
    camera_flags: list[str],
    model: Path | None,
    duration_s: float | None,
    rerun: bool,
    console: Console,
) -> tuple[dict[str, Any], NodeHealth]:
    """Start the processes, watch and stop them, and complete the files in `folder`."""

    def log(line: str) -> None:
        console.print(line, style='dim', soft_wrap=True)

    length_s = duration_s or DURATION_S
    if source and source.duration_s is not None:
        length_s = min(duration_s or MAX_FILE_S, source.duration_s)
    rate_hz = source.rate_hz if source else RATE_HZ
    beside = source.beside if source else STREET_BESIDE
    inputs = {**beside, RECORDED_INPUT: INPUT_TYPES[COMPRESSED_INPUT]}
    topics = {
        name: kind
        for name, kind in topic_types(RosTypes.vision).items()
        if name not in CLOUDS or (rerun and name == POINTS)
    }
    values = NO_LIMITS | ({'model': str(model.resolve())} if model else {})
    node_flags = ['--ros-args']
    for name, value in values.items():  # texts in quotes, since ROS reads the values as YAML
        node_flags += ['-p', f'{name}:={json.dumps(value)}']
    if not source:
        draw_street(folder / STREET, length_s)
        camera_flags = [f'--bag={folder / STREET}', '--loop']
    # It publishes once node and recorder have subscribed to its images.
    camera_flags = [*camera_flags, '--record']
    arrived = set()

    def take(topic: str, data: bytes, time_ns: int) -> None:
        arrived.add(topic)
        recorder.take(topic, data, time_ns)
        if rerun_log is not None:
            rerun_log.take(topic, data)

    def is_connected() -> bool:
        return arrived >= LATCHED & topics.keys() and all(map(monitor.has_publisher, topics))

    with (
        RerunLog(folder / RERUN_FILE, topics | inputs) if rerun else nullcontext() as rerun_log,
        Recorder(folder, topics | inputs, LATCHED, rate_hz) as recorder,
        Monitor(take, topics) as monitor,
        Child('node', NODE_MODULE, node_flags, log) as node,
        Child('camera', CAMERA_MODULE, camera_flags, log) as camera,
    ):
        _wait_until_active(monitor.spin, is_connected, recorder, node, camera, console)
        for name, kind in inputs.items():  # the camera waits for it
            monitor.subscribe(name, kind)
        console.print(
            f'camera: {source.name if source else "synthetic street"}, '
            f'{rate_hz:.1f} images/s, for {length_s:.0f} s',
            soft_wrap=True,
        )
        ends = source is not None and source.duration_s is not None
        _watch(monitor.spin, recorder, node, camera, length_s, ends, console)
        _settle(monitor.spin, recorder, node, camera)
    rmtree(folder / STREET, ignore_errors=True)
    summary = recorder.finish()
    if recorder.left_out:
        console.print(
            f'the bag is full: the last {counted(recorder.left_out, "image")} of the camera are '
            'not in it'
        )
    assert recorder.at_work is not None  # finish() raises without it
    return summary, recorder.at_work


def _wait_until_active(
    spin: Callable[[float], None],
    is_connected: Callable[[], bool],
    recorder: Recorder,
    node: Child,
    camera: Child,
    console: Console,
) -> None:
    """Wait until the node has loaded its model, and its topics reach the recorder."""
    end_s = time.monotonic() + START_S
    with console.status('the node loads its model'):
        while recorder.health is None or not recorder.health.active or not is_connected():
            spin(SPIN_S)
            if node.exit_code is not None:
                node.check()
                raise ChildProcessError('the node exited early; see its output above')
            camera.check()
            if recorder.health and recorder.health.problem:
                raise ValueError(f'the node reports: {recorder.health.problem}')
            if time.monotonic() > end_s:
                raise ValueError(f'the node did not become active within {START_S:.0f} s')


def _watch(
    spin: Callable[[float], None],
    recorder: Recorder,
    node: Child,
    camera: Child,
    duration_s: float,
    ends: bool,
    console: Console,
) -> None:
    """Show a live line until the time is over or the source ends; Ctrl-C ends it early.

    If the source `ends`, the camera may take seconds to exit after its last image. Diagnostics
    without a new image are not shown then, since they would report its end as trouble.
    """
    start_s = time.monotonic()
    first_s = None
    shown = recorder.health
    with console.status('') as status:
        try:
            while camera.exit_code is None:
                spin(SPIN_S)
                node.check()
                now_s = time.monotonic()
                if first_s is None and recorder.overlays:
                    first_s = now_s
                if first_s is None and now_s - start_s > FIRST_IMAGE_S:
                    raise ValueError(
                        f'the node published no image within {FIRST_IMAGE_S:.0f} s; '
                        f'it reports: {recorder.health and recorder.health.line()}'
                    )
                if first_s is not None and now_s - first_s > duration_s:
                    return
                if recorder.health and recorder.health is not shown:
                    before, shown = shown, recorder.health
                    if ends and before and before.counts['received'] == shown.counts['received']:
                        continue
                    state = 'waiting for the first result'
                    if shown.counts['published']:
                        state = shown.line()
                    line = f'{now_s - start_s:.0f} s: {state}'
                    status.update(Text(line))
                    if not console.is_terminal:
                        console.print(line, soft_wrap=True)
        except KeyboardInterrupt:
            console.print('stopped early; the results so far are kept')
    camera.check()


def _settle(spin: Callable[[float], None], recorder: Recorder, node: Child, camera: Child) -> None:
    """Stop the camera, and wait for diagnostics that count all images, with none in progress."""
    camera.interrupt()
    ended_s = time.time()
    end_s = time.monotonic() + SETTLE_S
    while time.monotonic() < end_s:
        spin(SPIN_S)  # also while the camera ends, so that no message is lost
        node.check()
        if camera.exit_code is None:
            ended_s = time.time()
            continue
        health = recorder.health
        if health and health.stamp_s > ended_s and not health.counts['in_flight']:
            return
