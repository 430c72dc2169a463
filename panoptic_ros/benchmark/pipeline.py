# SPDX-License-Identifier: Apache-2.0
"""How long each stage takes from a camera image to published messages."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_file import load_onnx
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.node.pipeline import Pipeline
from panoptic_ros.node.stages import Stage
from panoptic_ros.runtime import Backend
from panoptic_ros.runtime.gpu import gpu_index
from panoptic_ros.runtime.load import load
from panoptic_ros.tracking import Tracker, TrackerConfig

LEAST_FRAMES = 3

Network = Callable[[npt.NDArray[np.uint8]], object]


class Sink(Protocol):
    """Where frames go: filled and published apart, so that each can be timed."""

    def fill(self, image: CameraImage, frame: PanopticFrame, labels: LabelSet) -> None:
        """Turns a frame into messages."""

    def publish(self) -> None:
        """Publishes the messages last filled."""


@dataclass(frozen=True)
class Report:
    """What was measured with one model."""

    info: ModelInfo
    backend: str
    device: str
    fallback_reason: str

    stages_ms: dict[str, npt.NDArray[np.float64]]
    """(frames,) times by stage, in order; the last, `total`, is the sum of the others."""

    peak_bytes: int
    """Most resident memory while the model was loaded and run."""

    @property
    def rate_hz(self) -> float:
        """Images a second, one after the other."""
        return float(1e3 / self.stages_ms[Stage.TOTAL.key].mean())

    def records(self) -> list[dict[str, Any]]:
        """A record for each stage, as plain values."""
        height, width = self.info.input_size
        return [
            {
                'model': self.info.name,
                'backend': self.backend,
                'device': self.device,
                'input': f'{height}x{width}',
                'stage': stage,
                'p50_ms': round(float(np.percentile(values, 50)), 4),
                'p95_ms': round(float(np.percentile(values, 95)), 4),
            }
            for stage, values in self.stages_ms.items()
        ]


def measure(
    path: Path,
    images: Sequence[CameraImage],
    seconds: float = 5.0,
    sink: Sink | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
    **backend_options: Any,
) -> Report:
    """Runs images through a model and the tracker, and takes the times.

    Args:
        path: the model file.
        images: played in a circle.
        seconds: how long to go on; at least LEAST_FRAMES images are taken.
        sink: takes the frames; without it the stages `messages` and `publish` are left out.
        on_progress: told how much is done, 0 to 1.
        backend_options: see `open_backend`.

    Raises:
        ModelFileError, BackendError: as `open_backend` does.
    """
    _forget_peak()
    predictor = load(path, **backend_options)
    backend = predictor.backend
    pipeline = Pipeline(predictor, Tracker(TrackerConfig()))
    for i in range(2):  # the first images fill caches and buffers
        pipeline(images[i % len(images)], float(i))
    peak = _peak()
    network = network_alone(path, backend, backend_options.get('threads'))

    rows: list[dict[Stage, float]] = []
    start = time.perf_counter()
    while len(rows) < LEAST_FRAMES or time.perf_counter() - start < seconds:
        image = images[len(rows) % len(images)]
        rows.append(dict(_time_stages(pipeline, image, 2.0 + len(rows) / 30, sink, network)))
        on_progress(min(1.0, len(rows) / LEAST_FRAMES, (time.perf_counter() - start) / seconds))
    stages = {stage.key: np.array([row[stage] for row in rows]) * 1e3 for stage in rows[0]}
    return Report(
        predictor.info,
        backend.name,
        backend.device,
        backend.fallback_reason,
        {**stages, Stage.TOTAL.key: np.sum(list(stages.values()), axis=0)},
        max(peak, 0 if network else _peak()),
    )


def _time_stages(
    pipeline: Pipeline,
    image: CameraImage,
    stamp_s: float,
    sink: Sink | None,
    network: Network | None,
) -> Iterator[tuple[Stage, float]]:
    """Stages of one image and their seconds."""
    alone = 0.0
    if network is not None:
        pixels, _ = pipeline.predictor.prepare(image)
        start = time.perf_counter()
        network(pixels)
        alone = time.perf_counter() - start
    frame, times = pipeline(image, stamp_s)
    for stage, seconds in times.items():
        if stage is Stage.INFER and network is not None:
            # In turn on the same image, so that their ratio holds on a machine with other work.
            yield Stage.NETWORK, alone
            yield Stage.DECODE, seconds - alone
        else:
            yield stage, seconds
    if sink is not None:
        start = time.perf_counter()
        sink.fill(image, frame, pipeline.predictor.info.labels)
        filled = time.perf_counter()
        sink.publish()
        yield Stage.MESSAGES, filled - start
        yield Stage.PUBLISH, time.perf_counter() - filled


def time_tracker(count: int = 200, frames: int = 60) -> npt.NDArray[np.float64]:
    """Milliseconds that the tracker takes for an image of so many things, (frames,).

    They stand in rows and shake a little; each has an embedding of its own.
    """
    rng = np.random.default_rng(0)
    side = math.ceil(math.sqrt(count))
    size = np.array([256, 512]) // side * side  # cells
    rows = np.zeros(count, segment_dtype(12))
    rows['segment_id'], rows['is_thing'], rows['score'] = np.arange(1, count + 1), 1, 0.9
    y, x = np.divmod(np.arange(count), side)
    height, width = size // side
    rows['bbox_w'], rows['bbox_h'] = width, height
    embedding = rng.normal(size=rows['embedding'].shape)
    grid = np.zeros((side, side), np.uint16)
    grid[y, x] = rows['segment_id']
    segment_map = np.kron(grid, np.ones((height, width), np.uint16))
    geometry = Geometry(segment_map.shape, segment_map.shape, 1)
    tracker, times = Tracker(TrackerConfig()), []
    for i in range(frames + 1):
        rows['bbox_x'], rows['bbox_y'] = x * width + i % 3, y * height
        rows['embedding'] = embedding + rng.normal(scale=0.02, size=embedding.shape)
        frame = PanopticFrame(np.roll(segment_map, i % 3, axis=1), rows.copy(), geometry, i / 20)
        start = time.perf_counter()
        tracker.update(frame)
        times.append(time.perf_counter() - start)
    return np.array(times[1:]) * 1e3  # the first has no tracks


def network_alone(path: Path, backend: Backend, threads: int | None) -> Network | None:
    """The graph as far as the tensors that decoding starts from, which export names `maps_*`.

    None where the file has no such names, or the backend is not ONNX Runtime.
    """
    engine, _, provider = backend.name.partition('/')
    model = load_onnx(path)
    heads = [name for node in model.graph.node for name in node.output if name.startswith('maps_')]
    if engine != 'onnxruntime' or not heads:
        return None
    from onnx.utils import Extractor

    from panoptic_ros.runtime.onnxruntime_backend import open_session

    part = Extractor(model).extract_model(['image'], heads)
    session = open_session(
        part.SerializeToString(),
        provider,
        gpu_index(backend.device),
        backend.precision,
        None,
        threads,
    )
    return lambda pixels: session.run(heads, {'image': pixels})


def _forget_peak() -> None:
    """Lets the kernel count this process's peak memory anew."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def _peak() -> int:
    """Peak of resident memory, bytes."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
