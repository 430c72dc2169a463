# SPDX-License-Identifier: Apache-2.0
"""The replay itself: every image, in order, one after the other, through the node's pipeline."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.text import one_line
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.counts import Drop
from panoptic_ros.node.image_step import DroppedImage, ImageStep, ProcessedImage
from panoptic_ros.node.loading import Loaded
from panoptic_ros.node.stages import Stage
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.recordings.recording import Record, Recording
from panoptic_ros.replay.diagnostics import Health
from panoptic_ros.replay.frame_records import MS_DIGITS, FrameRecord
from panoptic_ros.replay.ground_truth import GroundTruth, Truth
from panoptic_ros.replay.outputs_log import InferenceError, LoggedBackend
from panoptic_ros.replay.results_bag import ResultsBag
from panoptic_ros.replay.scores import Scores
from panoptic_ros.replay.worst import WorstFrames
from panoptic_ros.runtime import Predictor
from panoptic_ros.tracking import StampClock

LAST_NS = 2**63 - 1
"""The latest time that every kind of bag can be asked for."""

DEFAULT_RATE_HZ = 10.0
"""Of the overlay video, where a camera gave fewer than two images."""


@dataclass(frozen=True)
class Job:
    """What is to be replayed."""

    recording: Recording
    cameras: Mapping[str, str]
    """Topic by camera."""

    settings: Mapping[str, Any]
    """The node's parameters."""

    truths: Mapping[str, GroundTruth] = field(default_factory=dict)
    """By camera."""

    start_s: float = 0.0
    """Into the recording."""

    duration_s: float | None = None
    stride: int = 1
    """Every so many images of each camera."""

    named: Collection[str] = ()
    """Topics that the user named; each must have an image that can be used."""

    @property
    def window_ns(self) -> tuple[int, int]:
        """Start and end on the recording's clock."""
        start = _later(self.recording.start_ns, self.start_s)
        return start, LAST_NS if self.duration_s is None else _later(start, self.duration_s)

    @property
    def is_whole(self) -> bool:
        """Whether all of the recording is replayed."""
        return not self.start_s and self.duration_s is None

    def images(self) -> Iterator[tuple[str, Record]]:
        """Camera and message of each image that is replayed."""
        camera_of = {topic: camera for camera, topic in self.cameras.items()}
        met = dict.fromkeys(self.cameras, 0)
        for record in self.recording.records(list(camera_of), *self.window_ns):
            camera = camera_of[record.topic]
            if met[camera] % self.stride == 0:
                yield camera, record
            met[camera] += 1

    def prefix(self, camera: str) -> str:
        """What goes before the topics of a camera: its name, where there are several."""
        return f'{camera}/' if len(self.cameras) > 1 else ''

    def file_ending(self, camera: str) -> str:
        """What tells the files of one camera from those of another."""
        return '_' + re.sub(r'\W+', '_', camera) if len(self.cameras) > 1 else ''


def _later(time_ns: int, seconds: float) -> int:
    return min(time_ns + round(min(seconds, LAST_NS / 1e9) * 1e9), LAST_NS)


@dataclass
class Outcome:
    """What came of it, in memory; the rest lies in files."""

    records: list[FrameRecord]
    scores: Scores | None
    worst: WorstFrames
    wall_s: float
    kept: int
    """Images whose network outputs were there from a replay that was killed."""


Progress = Callable[[Iterator[Any]], Iterator[Any]]
"""Is handed images, and hands them on."""


def replay(
    job: Job, loaded: Loaded, folder: Path, log: Path, progress: Progress = iter
) -> Outcome:
    """Replays in lock-step; a second run gives the same results to the bit.

    Args:
        job: what to do.
        loaded: the model.
        folder: gets `bag` and the overlay videos; exists and is empty.
        log: file that keeps the network's outputs; see `LoggedBackend`.
        progress: shows how far it is.

    Raises:
        ValueError: if no image could be read, in one line that says why.
    """
    info = loaded.predictor.info
    records: list[FrameRecord] = []
    begin_s = time.perf_counter()
    with ExitStack() as stack:
        backend = stack.enter_context(LoggedBackend(loaded.predictor.backend, log))
        predictor = Predictor(backend, info)
        steps = {name: ImageStep(predictor, job.settings) for name in job.cameras}
        scores = {name: Scores(info.labels) for name in job.truths}
        worst = WorstFrames(info.labels)
        bag = stack.enter_context(
            ResultsBag(
                folder / 'bag',
                {name: job.prefix(name) for name in job.cameras},
                info.labels,
                job.settings['output_scale'],
            )
        )
        videos = {
            name: stack.enter_context(
                OverlayVideo(folder / f'overlay{job.file_ending(name)}.mp4', rate_hz(job, topic))
            )
            for name, topic in job.cameras.items()
        }
        counts = dict.fromkeys(job.cameras, 0)
        health = Health(loaded, job.cameras)
        for name, message in progress(job.images()):
            record = FrameRecord(name, counts[name], 0, message.time_ns)
            counts[name] += 1
            if not records:
                bag.add_labels(message.time_ns, _score_threshold(loaded, job.settings))
            records.append(record)
            result = _process(record, message, steps[name], backend)
            processed = result if isinstance(result, ProcessedImage) else None
            truth = _truth(job.truths.get(name), record) if message.message is not None else None
            if truth is not None:
                score(record, scores[name], truth, processed.frame if processed else None)
            if processed is not None:
                image, frame, _ = processed
                overlay = bag.add(name, message.time_ns, message.message.header, image, frame)
                picture = overlay.data.reshape(overlay.height, overlay.width, 3)
                videos[name].add(picture, frame.stamp_s)
                worst.add(record, picture, truth)
            health.add(record, result, steps[name].pipeline.tracks)
            if health.is_due(message.time_ns):
                bag.add_health(message.time_ns, health)
        kept = backend.kept
    _check(records, job)
    return Outcome(
        records, finish_scores(records, scores), worst, time.perf_counter() - begin_s, kept
    )


def _process(
    record: FrameRecord, message: Record, step: ImageStep, backend: LoggedBackend
) -> ProcessedImage | DroppedImage:
    """Process one image as the node does, and note the result in its record."""
    if message.message is None:
        result: ProcessedImage | DroppedImage = DroppedImage(Drop.BAD_IMAGE, message.problem)
    else:
        record.stamp_ns = header_stamp_ns(message.message)
        result = step(message.message, message.time_ns / 1e9)
        record.stamp_problem = step.clock.problem
    if isinstance(result, DroppedImage):
        if isinstance(result.error, OSError):  # the disk is full: the replay can resume from here
            raise result.error
        if isinstance(result.error, InferenceError):  # its text names the kind of error
            result = result._replace(text=one_line(result.error))
        record.problem = result.problem
        return result
    times = result.times | {Stage.INFER: backend.seconds}
    times[Stage.TOTAL] = sum(times.values())
    record.times_ms = {
        stage.key: round(seconds * 1e3, MS_DIGITS) for stage, seconds in times.items()
    }
    record.describe(result.frame)
    return result


def _truth(source: GroundTruth | None, record: FrameRecord) -> Truth | None:
    return source.at(record.stamp_ns, record.recorded_ns) if source else None


def score(record: FrameRecord, scores: Scores, truth: Truth, frame: PanopticFrame | None) -> None:
    """Scores one frame, and notes how good it alone is."""
    panoptic, semantic = scores.update(truth, frame)
    record.quality = {}
    for i in panoptic.counts.sum(axis=0).nonzero()[0].tolist():
        tp, fp, fn = panoptic.counts[:, i].tolist()
        record.quality[i] = float(panoptic.iou_sum[i]), tp, fp, fn
    both = semantic.confusion[:, 1:].diagonal()
    union = semantic.confusion.sum(axis=1) + semantic.confusion[:, 1:].sum(axis=0) - both
    record.overlap = {i: (int(both[i]), int(union[i])) for i in union.nonzero()[0].tolist()}
    quality = panoptic.result().all
    record.pq = quality.pq if quality.n else None


def finish_scores(records: list[FrameRecord], scores: Mapping[str, Scores]) -> Scores | None:
    """Scores of all cameras, and id switches into the records of their frames."""
    total: Scores | None = None
    for name, one in scores.items():
        if not one.frames:
            continue
        one.video.end_clip()
        scored = [
            record for record in records if record.camera == name and record.quality is not None
        ]
        for switch in one.video.result().switches:
            scored[switch.frame_index].switches += (switch.to_dict(),)
        total = total or Scores(one.labels)
        total.merge(one)
    return total


def _score_threshold(loaded: Loaded, settings: Mapping[str, Any]) -> float:
    given = settings['score_threshold']
    return given if given >= 0 else (loaded.predictor.info.thresholds['score_threshold'].default)


def rate_hz(job: Job, topic: str) -> float:
    """Of a camera's images, from the times of the first ones; 0.5 to 240."""
    clock, times = StampClock(), []
    for record in job.recording.records([topic], *job.window_ns):
        if record.message is not None:
            times.append(
                clock.time_of(header_stamp_ns(record.message) / 1e9, record.time_ns / 1e9)
            )
        if len(times) == 50:
            break
    steps_s = [b - a for a, b in pairwise(times) if b > a]
    found_hz = round(1 / median(steps_s), 3) if steps_s else DEFAULT_RATE_HZ
    return max(0.5, min(found_hz / job.stride, 240.0))


def _check(records: list[FrameRecord], job: Job) -> None:
    for name, topic in job.cameras.items():
        own = [record for record in records if record.camera == name]
        if not own:
            raise ValueError(
                f'there is no image of {topic} in the part to be replayed '
                f'({job.recording.damage or "start and duration"})'
            )
        is_needed = topic in job.named or all(record.problem for record in records)
        if is_needed and all(record.problem for record in own):
            raise ValueError(f'no image of {topic} could be used; the first: {own[0].problem}')
