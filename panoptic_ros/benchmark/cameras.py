# SPDX-License-Identifier: Apache-2.0
"""Latency and losses of several cameras that share one model, as in the node."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.benchmark.pipeline import Sink
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.image_step import DroppedImage, ImageStep, Request, process_together
from panoptic_ros.node.parameter_file import read_parameters
from panoptic_ros.node.scheduler import Waiting
from panoptic_ros.node.worker import Worker
from panoptic_ros.runtime.load import load

WARM_UP = 3
"""Images of each camera that are processed before the timing starts."""

END_S = 60.0
"""Longest wait for the last images, seconds."""


class Sent(NamedTuple):
    """Image as the worker receives it."""

    message: Any
    sent_s: float
    """Time of arrival by time.perf_counter()."""

    image: CameraImage


@dataclass(frozen=True)
class CameraTimes:
    """Result of one camera."""

    name: str
    counts: Counts
    latency_ms: npt.NDArray[np.float64]
    """Time from arrival to the last message, or to the tracked frame without a sink, of each
    image that was processed."""


@dataclass(frozen=True)
class CamerasTimes:
    """Result of all cameras."""

    info: ModelInfo
    backend: str
    device: str
    rate_hz: float
    """Images that each camera sends per second."""

    cameras: Sequence[CameraTimes]


def time_cameras(
    path: Path,
    images: Sequence[CameraImage],
    cameras: int,
    rate_hz: float,
    seconds: float = 10.0,
    sink: Sink | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
    **backend_options: Any,
) -> CamerasTimes:
    """Send images of several cameras at a rate to the node's worker, in real time.

    The cameras are not synchronised: their images are evenly apart.

    Args:
        path: the model file.
        images: camera images, used in turn.
        cameras: number of cameras.
        rate_hz: images per second of each camera.
        seconds: time to spend.
        sink: receives the frames; without it no messages are made.
        on_progress: receives the fraction that is done, 0 to 1.
        backend_options: arguments of `panoptic_ros.load`.

    Raises:
        ModelFileError: if the model file is missing or damaged.
        BackendError: if the backend or the device is not available.
        RuntimeError: if the last images are not processed in time.
    """
    predictor = load(path, **backend_options)
    settings = read_parameters(None)
    names = [f'camera {i + 1}' for i in range(cameras)]
    steps = {name: ImageStep(predictor, settings) for name in names}
    latencies_ms: dict[str, list[float]] = {name: [] for name in names}

    def process(waiting: Sequence[Waiting[Sent]]) -> list[Drop | None]:
        results = process_together(
            [Request(steps[name], sent.message, sent.sent_s) for name, sent in waiting]
        )
        drops: list[Drop | None] = []
        for (name, sent), result in zip(waiting, results, strict=True):
            if isinstance(result, DroppedImage):
                drops.append(result.reason)
                continue
            if sink is not None:
                sink.send(sent.image, result.frame, predictor.info.labels)
            latencies_ms[name].append(1e3 * (time.perf_counter() - sent.sent_s))
            drops.append(None)
        return drops

    for i in range(WARM_UP):
        now_s = time.perf_counter()
        image = images[i % len(images)]
        process([Waiting(name, Sent(_message(image, i), now_s, image)) for name in names])
    for step in steps.values():
        step.pipeline.reset_tracks()
    for values in latencies_ms.values():
        values.clear()

    worker = Worker[Sent](names)
    worker.most_together = predictor.info.batch
    worker.start(process)
    start_s = time.perf_counter()
    count = max(1, round(seconds * rate_hz)) * cameras
    for i in range(count):
        due_s = i / cameras / rate_hz
        time.sleep(max(0.0, start_s + due_s - time.perf_counter()))
        image = images[i // cameras % len(images)]
        message = _message(image, WARM_UP + due_s)
        worker.put(names[i % cameras], Sent(message, time.perf_counter(), image))
        on_progress((i + 1) / count)
    give_up_s = time.perf_counter() + END_S
    while any(worker.counts(name).in_flight for name in names):
        if time.perf_counter() > give_up_s:
            raise RuntimeError(f'the last images are not processed after {END_S:.0f} s')
        time.sleep(0.01)
    worker.stop(END_S)
    backend = predictor.backend
    return CamerasTimes(
        predictor.info,
        backend.name,
        backend.device,
        rate_hz,
        [CameraTimes(name, worker.counts(name), np.array(latencies_ms[name])) for name in names],
    )


def _message(image: CameraImage, stamp_s: float) -> Any:
    """Return a sensor_msgs/Image of a camera image, with the fields that the node reads."""
    pixels, order = image
    seconds, rest = divmod(stamp_s + 1.0, 1.0)
    stamp = SimpleNamespace(sec=int(seconds), nanosec=int(rest * 1e9))
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id='camera'),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding={'rgb': 'rgb8', 'bgr': 'bgr8', 'mono': 'mono8'}[order],
        is_bigendian=0,
        step=pixels.strides[0],
        data=pixels.reshape(-1),
    )
