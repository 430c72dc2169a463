# SPDX-License-Identifier: Apache-2.0
"""Time and memory that the metrics need per frame."""

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.metrics.image_pair import ImagePair, pair_segments
from panoptic_ros.metrics.registry import METRICS
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import measure_frame

LABELS = LabelSet(tuple(Label(f'class {i}', i < 8, (i, i, i), i) for i in range(19)))
"""As many classes as Cityscapes has: 8 things, 11 stuff."""

SEGMENTS = 60
LEAST_ROUNDS = 5
FEW_FRAMES, MANY_FRAMES = 10, 40


@dataclass(frozen=True)
class View:
    """Ground truth and prediction of one frame."""

    gt_map: npt.NDArray[np.int32]
    pred_map: npt.NDArray[np.uint16]
    segments: dict[int, int]
    """Class id by segment id, the same on both sides."""

    gt_class_map: npt.NDArray[np.uint8]
    pred_class_map: npt.NDArray[np.uint8]
    pred_scores: npt.NDArray[np.float64]

    def count(self) -> ImagePair:
        """Make the pass over the pixels."""
        return pair_segments(
            LABELS,
            self.gt_map,
            self.segments,
            self.pred_map,
            self.segments,
            pred_scores=self.pred_scores,
        )

    @cached_property
    def pair(self) -> ImagePair:
        """Result of a pass that was made before."""
        return self.count()


@dataclass(frozen=True)
class Case:
    """Metric, and how a frame is added to it."""

    name: str
    make: Callable[[LabelSet], Any]
    update: Callable[[Any, View], None]


CASES = (
    *(
        Case(
            row.definition.title.partition(',')[0],
            row.make,
            (lambda metric, view: metric.update(view.count()))
            if row.key == 'panoptic'
            else (lambda metric, view: metric.update(view.pair)),
        )
        for row in METRICS
    ),
    Case(
        'video',
        VideoScores,
        lambda metric, view: metric.update(
            measure_frame(
                view.gt_class_map, view.gt_map, view.pred_class_map, view.pred_map, LABELS
            )
        ),
    ),
)
"""PQ and video include the pass over the pixels; the other metrics read the pairs of PQ."""


@dataclass(frozen=True)
class MetricCost:
    """Measured cost of one metric; times are of one core."""

    name: str

    frame_ms: float
    """Median time to add a frame."""

    ratio: float
    """Ratio of that time to the reference's, median over the rounds."""

    kept_bytes: float
    """Memory that the metric keeps for each frame."""

    result_ms: tuple[float, float]
    """Time of `compute` per frame, for FEW_FRAMES and for MANY_FRAMES."""


def make_view(height: int, width: int, seed: int = 0) -> View:
    """Draw overlapping ellipses; the prediction is the ground truth, warped by a few pixels."""
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
    warp = [
        cv2.resize(
            rng.normal(0, 4, (max(height // 16, 1), max(width // 16, 1))), (width, height)
        ).astype(np.float32)
        for _ in range(2)
    ]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pred_map = cv2.remap(
        gt_map.astype(np.uint16),
        x + warp[0],
        y + warp[1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )
    segments = {i: int(rng.integers(len(LABELS))) for i in range(1, SEGMENTS + 1)}
    classes = np.array([0, *segments.values()], np.uint8)
    return View(
        gt_map,
        np.asarray(pred_map, np.uint16),
        segments,
        classes[gt_map],
        classes[pred_map],
        rng.random(SEGMENTS),
    )


def reference(view: View) -> None:
    """Make the pass over the pixels as panopticapi does: sort a code for each pixel."""
    np.unique(view.gt_map.astype(np.uint64) * 2**24 + view.pred_map, return_counts=True)


def time_metrics(height: int, width: int, seconds: float) -> tuple[float, list[MetricCost]]:
    """Time all metrics in turn on a pair of maps (H, W).

    Args:
        height: of the maps, px.
        width: of the maps, px.
        seconds: time to spend on adding frames; at least LEAST_ROUNDS rounds are made.

    Returns:
        The time of the reference, ms, and the cost of each metric.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        frame, rounds = make_view(height, width), list[list[float]]()
        metrics = [case.make(LABELS) for case in CASES]
        start = time.monotonic()
        while len(rounds) < LEAST_ROUNDS or time.monotonic() - start < seconds:
            rounds.append(
                [
                    _ms(partial(reference, frame)),
                    *(
                        _ms(partial(case.update, metric, frame))
                        for case, metric in zip(CASES, metrics, strict=True)
                    ),
                ]
            )
        times = np.array(rounds)
        medians, ratios = np.median(times, axis=0), np.median(times / times[:, :1], axis=0)
        return float(medians[0]), [
            MetricCost(
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
    """Return the processor time of a call, ms."""
    start = time.process_time()  # other work on the machine does not count
    work()
    return 1e3 * (time.process_time() - start)


def _kept(case: Case, frame: View) -> float:
    """Return the bytes that the metric keeps for each frame after the first."""
    metric = case.make(LABELS)
    case.update(metric, frame)
    tracemalloc.start()
    try:
        case.update(metric, frame)  # allocates what is allocated only once
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(MANY_FRAMES):  # many: other threads allocate and free memory too
            case.update(metric, frame)
        gc.collect()
        return max(0.0, (tracemalloc.get_traced_memory()[0] - before) / MANY_FRAMES)
    finally:
        tracemalloc.stop()


def _result_ms(case: Case, frame: View, frames: int) -> float:
    """Return the time of `compute` per frame."""
    spent = 0.0
    for count in (1, frames):  # the first call imports what it needs
        metric = case.make(LABELS)
        for _ in range(count):
            case.update(metric, frame)
        spent = _ms(metric.compute)
    return spent / frames
