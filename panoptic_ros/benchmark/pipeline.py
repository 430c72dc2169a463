# SPDX-License-Identifier: Apache-2.0
"""Times of the stages from a camera image to published messages."""

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

from panoptic_ros.benchmark.graph import WARM_UP, GraphTimes, count_layers, count_nodes, time_graph
from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.node.pipeline import Pipeline
from panoptic_ros.node.stages import Stage
from panoptic_ros.runtime.load import load
from panoptic_ros.tracking import Tracker, TrackerConfig
from panoptic_ros.tracking.camera_motion import CameraMotion

LEAST_FRAMES = 3
"""Smallest number of images that are timed."""

GRAPH_SHARE = 0.3
"""Share of the time that is spent on the operations of the graph."""


class Sink(Protocol):
    """Receiver of frames."""

    def send(
        self, image: CameraImage, frame: PanopticFrame, labels: LabelSet
    ) -> dict[Stage, float]:
        """Make and publish a frame's messages; return seconds by stage."""


@dataclass(frozen=True)
class PipelineTimes:
    """Times and memory of one model."""

    info: ModelInfo
    backend: str
    device: str
    fallback_reason: str

    stages_ms: dict[str, npt.NDArray[np.float64]]
    """(frames,) time of each stage, in order; the last, `total`, is the sum of the others."""

    graph: GraphTimes | None
    """Times of network and decoding on one thread, where they can be told apart."""

    nodes: int
    """Number of operations of the graph."""

    layers: int | None
    """Number of layers that TensorRT's parser makes of it; None where it is not installed."""

    peak_bytes: int
    """Peak of resident memory while the model was loaded and run."""

    @property
    def rate_hz(self) -> float:
        """Images per second, processed one after the other."""
        return float(1e3 / self.stages_ms[Stage.TOTAL.key].mean())


def time_pipeline(
    path: Path,
    images: Sequence[CameraImage],
    seconds: float = 5.0,
    sink: Sink | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
    **backend_options: Any,
) -> PipelineTimes:
    """Run images through a model and the tracker, and time each stage.

    Args:
        path: the model file.
        images: camera images, used in turn.
        seconds: time to spend; at least LEAST_FRAMES images are processed.
        sink: receives the frames; without it the stages from `metres` to `receive` are left out.
        on_progress: receives the fraction that is done, 0 to 1.
        backend_options: arguments of `panoptic_ros.load`.

    Raises:
        ModelFileError: if the model file is missing or damaged.
        BackendError: if the backend or the device is not available.
    """
    _forget_peak()
    predictor = load(path, **backend_options)
    backend = predictor.backend
    pipeline = Pipeline(predictor, Tracker(TrackerConfig()))
    for i in range(WARM_UP):
        pipeline(images[i % len(images)], float(i))

    rows: list[dict[Stage, float]] = []
    spent, start = (1 - GRAPH_SHARE) * seconds, time.perf_counter()
    while len(rows) < LEAST_FRAMES or time.perf_counter() - start < spent:
        image = images[len(rows) % len(images)]
        rows.append(dict(_time_stages(pipeline, image, WARM_UP + len(rows) / 30, sink)))
        passed = min(len(rows) / LEAST_FRAMES, (time.perf_counter() - start) / spent)
        on_progress(min(1.0, passed) * (1 - GRAPH_SHARE))
    peak, graph = _peak(), None
    if backend.name == 'onnxruntime/cpu':
        thresholds = {name: t.default for name, t in predictor.info.thresholds.items()}
        scaled = [predictor.prepare(image)[0].copy() for image in images]
        graph = time_graph(path, scaled, thresholds, GRAPH_SHARE * seconds)
    on_progress(1.0)
    stages = {
        stage.key: np.array([row.get(stage, 0.0) for row in rows]) * 1e3
        for stage in Stage
        if any(stage in row for row in rows)
    }
    return PipelineTimes(
        predictor.info,
        backend.name,
        backend.device,
        backend.fallback_reason,
        {**stages, Stage.TOTAL.key: np.sum(list(stages.values()), axis=0)},
        graph,
        count_nodes(path),
        count_layers(path),
        peak,
    )


def _time_stages(
    pipeline: Pipeline, image: CameraImage, stamp_s: float, sink: Sink | None
) -> Iterator[tuple[Stage, float]]:
    """Process one image and yield its stages with their times, s."""
    frame, times = pipeline(image, stamp_s)
    yield from times.items()
    if sink is not None:
        yield from sink.send(image, frame, pipeline.predictor.info.labels).items()


def time_tracker(count: int = 200, frames: int = 60) -> npt.NDArray[np.float64]:
    """Time the tracker on images of `count` things.

    The things stand in rows and move a little; each has its own embedding.

    Returns:
        (frames,) time per image, ms.
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
    return np.array(times[1:]) * 1e3  # the first image has no tracks


def time_camera_motion(images: Sequence[CameraImage], frames: int = 60) -> npt.NDArray[np.float64]:
    """Time the measurement of the camera's motion, on images that show stuff only.

    Args:
        images: consecutive camera images of one size, used forwards and backwards in turn.
        frames: number of measurements.

    Returns:
        (frames,) time per image, ms.
    """
    height, width = images[0].pixels.shape[:2]
    geometry = Geometry((height, width), (256, 512), 2)
    rows = np.zeros(1, segment_dtype(0))
    rows['segment_id'] = 1
    frame = PanopticFrame(np.ones(geometry.map_size, np.uint16), rows, geometry, 0.0)
    turns = [*images, *images[-2:0:-1]]
    camera, times = CameraMotion(), []
    for i in range(frames + 1):
        start = time.perf_counter()
        camera.update(frame, turns[i % len(turns)])
        times.append(time.perf_counter() - start)
    return np.array(times[1:]) * 1e3  # the first image has none before it


def _forget_peak() -> None:
    """Reset the kernel's record of this process's peak memory."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def _peak() -> int:
    """Return the peak of resident memory, bytes."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
