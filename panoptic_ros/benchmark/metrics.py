# SPDX-License-Identifier: Apache-2.0
"""How long the metrics take for a frame, and what they keep of it."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.metrics.average_precision import AveragePrecision
from panoptic_ros.metrics.boundary import BoundaryQuality
from panoptic_ros.metrics.covering import ParsingCovering
from panoptic_ros.metrics.image_pair import Pair, compare
from panoptic_ros.metrics.instance_iou import InstanceIoU
from panoptic_ros.metrics.panoptic import PanopticQuality
from panoptic_ros.metrics.pq_dagger import PQDagger
from panoptic_ros.metrics.semantic import MeanIoU
from panoptic_ros.metrics.video import VideoScores

LABELS = LabelSet(tuple(Label(f'class {i}', i < 8, (i, i, i), i) for i in range(19)))
"""As many as Cityscapes: 8 things, 11 stuff."""

SEGMENTS = 60
LEAST_ROUNDS = 5
FEW_FRAMES, MANY_FRAMES = 10, 40


@dataclass(frozen=True)
class View:
    """One frame of the benchmark."""

    gt_map: npt.NDArray[np.int32]
    pred_map: npt.NDArray[np.uint16]
    segments: dict[int, int]
    """Class by segment id, the same on both sides."""

    gt_class_map: npt.NDArray[np.uint8]
    pred_class_map: npt.NDArray[np.uint8]
    pair: Pair
    pred_scores: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A metric, and how a frame is added to it."""

    name: str
    make: Callable[[LabelSet], Any]
    add: Callable[[Any, View], None]
    result: Callable[[Any], Any] = lambda metric: metric.result()


CASES = (
    Case(
        'PQ',
        PanopticQuality,
        lambda metric, view: metric.update(
            view.gt_map, view.segments, view.pred_map, view.segments
        ),
    ),
    *(
        Case(name, make, lambda metric, view: metric.add(view.pair))
        for name, make in (
            ('mIoU', MeanIoU),
            ('Parsing Covering', ParsingCovering),
            ('iIoU', InstanceIoU),
            ('boundary PQ', BoundaryQuality),
        )
    ),
    Case(
        'PQ-dagger',
        PQDagger,
        lambda metric, view: metric.add(view.pair),
        lambda metric: metric.result(PanopticQuality(LABELS).result()),
    ),
    Case('AP', AveragePrecision, lambda metric, view: metric.add(view.pair, view.pred_scores)),
    Case(
        'video',
        VideoScores,
        lambda metric, view: metric.update(
            view.gt_class_map, view.gt_map, view.pred_class_map, view.pred_map
        ),
    ),
)
"""PQ and video make the pass over the pixels, the others take PQ's over. A new metric's line goes
here."""


@dataclass(frozen=True)
class Speed:
    """What was measured with one metric; times are of one core."""

    name: str

    frame_ms: float
    """Adding a frame, median."""

    ratio: float
    """The same over the reference's time, round by round, median."""

    kept_bytes: float
    """Memory that a frame goes on taking."""

    result_ms: tuple[float, float]
    """The result of FEW_FRAMES and of MANY_FRAMES, for each frame of them."""


def view(height: int, width: int, seed: int = 0) -> View:
    """Round segments over one another; the prediction is the truth, bent by a few pixels."""
    rng = np.random.default_rng(seed)
    gt_map = np.ones((height, width), np.int32)
    for segment in range(2, SEGMENTS + 1):
        axes = rng.integers(max(height // 40, 1), max(height // 4, 2), 2)
        center = rng.integers(0, (width, height))
        cv2.ellipse(
            gt_map,
            (int(center[0]), int(center[1])),
            (int(axes[0]), int(axes[1])),
            float(rng.uniform(0, 180)),
            0,
            360,
            segment,
            -1,
        )
    bend = [
        cv2.resize(
            rng.normal(0, 4, (max(height // 16, 1), max(width // 16, 1))), (width, height)
        ).astype(np.float32)
        for _ in range(2)
    ]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pred_map = cv2.remap(
        gt_map.astype(np.uint16),
        x + bend[0],
        y + bend[1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )
    segments = {i: int(rng.integers(len(LABELS))) for i in range(1, SEGMENTS + 1)}
    pair = compare(LABELS, gt_map, segments, pred_map, segments)
    classes = np.array([0, *segments.values()], np.uint8)
    return View(
        gt_map,
        np.asarray(pred_map, np.uint16),
        segments,
        classes[gt_map],
        classes[pred_map],
        pair,
        rng.random(SEGMENTS),
    )


def reference(view: View) -> None:
    """The pass over the pixels as panopticapi makes it: sorting a code for each pixel."""
    np.unique(view.gt_map.astype(np.uint64) * 2**24 + view.pred_map, return_counts=True)


def measure(
    height: int,
    width: int,
    seconds: float,
    on_progress: Callable[[float], None] = lambda done: None,
) -> tuple[float, list[Speed]]:
    """Times all metrics in turn on a pair of maps (H, W).

    Args:
        height: of the maps, px.
        width: of the maps, px.
        seconds: how long to go on, for adding frames; at least LEAST_ROUNDS rounds are made.
        on_progress: told how much is done, 0 to 1.

    Returns:
        The reference's time, ms, and each metric's.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        frame, rounds = view(height, width), list[list[float]]()
        metrics = [case.make(LABELS) for case in CASES]
        start = time.monotonic()
        while len(rounds) < LEAST_ROUNDS or time.monotonic() - start < seconds:
            rounds.append(
                [
                    _ms(partial(reference, frame)),
                    *(
                        _ms(partial(case.add, metric, frame))
                        for case, metric in zip(CASES, metrics, strict=True)
                    ),
                ]
            )
            on_progress(
                min(
                    1.0,
                    len(rounds) / LEAST_ROUNDS,
                    (time.monotonic() - start) / max(seconds, 1e-9),
                )
            )
        times = np.array(rounds)
        medians, ratios = np.median(times, axis=0), np.median(times / times[:, :1], axis=0)
        return float(medians[0]), [
            Speed(
                case.name,
                float(medians[i]),
                float(ratios[i]),
                _kept(case, frame),
                (_result_ms(case, frame, FEW_FRAMES), _result_ms(case, frame, MANY_FRAMES)),
            )
            for i, case in enumerate(CASES, 1)
        ]
    finally:
        cv2.setNumThreads(threads)


def _ms(work: Callable[[], object]) -> float:
    start = time.process_time()  # other work on the machine does not count
    work()
    return 1e3 * (time.process_time() - start)


def _kept(case: Case, frame: View) -> float:
    """Bytes that each frame after the first goes on taking."""
    metric = case.make(LABELS)
    case.add(metric, frame)
    tracemalloc.start()
    try:
        case.add(metric, frame)  # what is taken once only is taken here
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(MANY_FRAMES):  # other threads take and give back memory meanwhile
            case.add(metric, frame)
        gc.collect()
        return max(0.0, (tracemalloc.get_traced_memory()[0] - before) / MANY_FRAMES)
    finally:
        tracemalloc.stop()


def _result_ms(case: Case, frame: View, frames: int) -> float:
    spent = 0.0
    for count in (1, frames):  # the first result of all imports what it needs
        metric = case.make(LABELS)
        for _ in range(count):
            case.add(metric, frame)
        spent = _ms(partial(case.result, metric))
    return spent / frames
