# SPDX-License-Identifier: Apache-2.0
"""Lock-step replay: every image in order, through scheduler and image step of the node."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from panoptic_ros.core.text import one_line
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.camera_settings import settings_for
from panoptic_ros.node.counts import Drop
from panoptic_ros.node.image_step import (
    DroppedImage,
    ImageStep,
    ProcessedImage,
    Request,
    process_together,
)
from panoptic_ros.node.model_loading import LoadedModel
from panoptic_ros.node.scheduler import Scheduler
from panoptic_ros.node.side_input import SideInput
from panoptic_ros.node.stages import Stage
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.recordings.recording import Record
from panoptic_ros.replay.config import Progress, ReplayConfig
from panoptic_ros.replay.diagnostics import ReplayDiagnostics
from panoptic_ros.replay.frame_records import MS_DIGITS, FrameRecord
from panoptic_ros.replay.metres import ReplayMetres
from panoptic_ros.replay.outputs_log import InferenceError, LoggedBackend
from panoptic_ros.replay.results_bag import ResultsBag
from panoptic_ros.replay.scores import ReplayScores, merge_scores, score_frame
from panoptic_ros.replay.worst import WorstFrames
from panoptic_ros.runtime import Predictor


@dataclass
class ReplayResult:
    """Result of a replay, apart from its bag and videos."""

    records: list[FrameRecord]
    scores: ReplayScores | None
    """None without ground truth."""

    worst: WorstFrames
    wall_s: float
    """Time that the replay took."""

    depth: Mapping[str, SideInput] = field(default_factory=dict)
    """Depth by camera, with counts of the images that it fits."""

    reused: int = 0
    """Number of images whose network outputs were logged by an earlier, interrupted run."""


def replay(
    config: ReplayConfig, loaded: LoadedModel, folder: Path, log: Path, progress: Progress = iter
) -> ReplayResult:
    """Replay in lock-step; every run gives bit-equal results.

    Args:
        config: what to replay.
        loaded: the model.
        folder: empty folder that receives `bag` and the overlay videos.
        log: file of the network's outputs; see `LoggedBackend`.
        progress: shows progress.

    Raises:
        ValueError: if no image of a camera could be read.
        OSError: if a file cannot be written.
    """
    info = loaded.predictor.info
    records: list[FrameRecord] = []
    start_s = time.perf_counter()
    with ExitStack() as stack:
        backend = stack.enter_context(LoggedBackend(loaded.predictor.backend, log))
        predictor = Predictor(backend, info)
        steps = {
            name: ImageStep(predictor, settings_for(name, config.settings))
            for name in config.cameras
        }
        metres = {name: ReplayMetres(config, name) for name in config.beside}
        scores = {name: ReplayScores(info.network_labels) for name in config.ground_truths}
        worst = WorstFrames(info.labels)
        bag = stack.enter_context(
            ResultsBag(
                folder / 'bag',
                {name: config.topic_prefix(name) for name in config.cameras},
                info.labels,
                config.settings,
                config.beside,
            )
        )
        videos = {
            name: stack.enter_context(
                OverlayVideo(
                    folder / f'overlay{config.file_suffix(name)}.mp4', config.rate_hz(name)
                )
            )
            for name in config.cameras
        }
        counts, reused = dict.fromkeys(config.cameras, 0), 0
        diagnostics = ReplayDiagnostics(loaded, config.cameras, metres)
        for group in take_turns(progress(config.images()), config.cameras, info.batch):
            entries = []
            for name, message in group:
                record = FrameRecord(name, counts[name], 0, message.time_ns)
                counts[name] += 1
                if not records:
                    bag.add_labels(message.time_ns, _score_threshold(loaded, config))
                records.append(record)
                entries.append(_Entry(record, message, steps[name]))
            results, known = _process(entries, backend)
            reused += known
            for (record, message, step), result in zip(entries, results, strict=True):
                name = record.camera
                processed = result if isinstance(result, ProcessedImage) else None
                gt = None
                if name in config.ground_truths and message.message is not None:
                    gt = config.ground_truths[name].at(record.stamp_ns, record.recorded_ns)
                if gt is not None:
                    score_frame(record, scores[name], gt, processed.frame if processed else None)
                if processed is not None:
                    image, frame = processed.image, processed.frame
                    header = message.message.header
                    own = metres[name].at(message.time_ns) if name in metres else None
                    overlay = bag.add(name, message.time_ns, header, image, frame, own)
                    picture = overlay.data.reshape(overlay.height, overlay.width, 3)
                    videos[name].add(picture, frame.stamp_s)
                    worst.add(record, image, picture, gt)
                diagnostics.add(record, result, step.pipeline.tracks)
                if diagnostics.is_due(message.time_ns):
                    bag.add_diagnostics(message.time_ns, diagnostics)
    _check_usable(records, config)
    total = merge_scores(records, scores)
    depth = {name: one.depth for name, one in metres.items()}
    return ReplayResult(records, total, worst, time.perf_counter() - start_s, depth, reused)


def take_turns(
    images: Iterable[tuple[str, Record]], cameras: Collection[str], most: int
) -> Iterator[list[tuple[str, Record]]]:
    """Group images as the node's scheduler takes them if the model keeps up with the cameras.

    Args:
        images: camera and message, in order.
        cameras: names of the cameras.
        most: largest number of images in a group.

    Yields:
        Images of different cameras that go together; over all groups every image, in order.
    """
    scheduler = Scheduler[tuple[int, Record]](cameras)

    def take() -> list[tuple[str, Record]]:
        taken = sorted(scheduler.take(0.0, most), key=lambda waiting: waiting.image[0])
        return [(name, record) for name, (_, record) in taken]

    for number, (name, record) in enumerate(images):
        if scheduler.is_waiting(name):
            yield take()
        scheduler.put(name, (number, record))
        if sum(map(scheduler.is_waiting, cameras)) == min(most, len(cameras)):
            yield take()
    if rest := take():
        yield rest


class _Entry(NamedTuple):
    """Image to process."""

    record: FrameRecord
    message: Record
    step: ImageStep


def _process(
    entries: Sequence[_Entry], backend: LoggedBackend
) -> tuple[list[ProcessedImage | DroppedImage], int]:
    """Process images together as the node does, and note the results in their records.

    Returns:
        The results, and for how many the network's outputs came from the log.

    Raises:
        OSError: if the log of outputs cannot be written.
    """
    left = backend.left
    requests = []
    for record, message, step in entries:
        if message.message is not None:
            record.stamp_ns = header_stamp_ns(message.message)
            requests.append(Request(step, message.message, message.time_ns / 1e9))
    processed = iter(process_together(requests))
    results: list[ProcessedImage | DroppedImage] = []
    for record, message, step in entries:
        result: ProcessedImage | DroppedImage
        if message.message is None:
            result = DroppedImage(Drop.BAD_IMAGE, message.problem)
        else:
            result = next(processed)
            record.stamp_problem = step.clock.problem
        results.append(_note(record, result, backend.seconds))
    is_known = backend.left < left
    return results, sum(is_known and _reached_network(result) for result in results)


def _reached_network(result: ProcessedImage | DroppedImage) -> bool:
    return isinstance(result, ProcessedImage) or result.reason is Drop.INFERENCE_FAILED


def _note(
    record: FrameRecord, result: ProcessedImage | DroppedImage, infer_s: float
) -> ProcessedImage | DroppedImage:
    """Note a result in its record, and return it with its text for people."""
    if isinstance(result, DroppedImage):
        if isinstance(result.error, OSError):  # the disk is full; a later run can resume here
            raise result.error
        if isinstance(result.error, InferenceError):  # its text already names the kind of error
            result = result._replace(text=one_line(result.error))
        record.problem = result.problem
        return result
    times = result.times | {Stage.INFER: infer_s}
    times[Stage.TOTAL] = sum(times.values())
    record.times_ms = {
        stage.key: round(seconds * 1e3, MS_DIGITS) for stage, seconds in times.items()
    }
    record.describe(result.frame)
    return result


def _score_threshold(loaded: LoadedModel, config: ReplayConfig) -> float:
    value = config.settings['score_threshold']
    return value if value >= 0 else loaded.predictor.info.thresholds['score_threshold'].default


def _check_usable(records: list[FrameRecord], config: ReplayConfig) -> None:
    """Raise ValueError if a camera that the user named, or every camera, has no usable image."""
    for name, topic in config.cameras.items():
        own = [record for record in records if record.camera == name]
        if not own:
            raise ValueError(
                f'there is no image of {topic} in the part to be replayed '
                f'({config.recording.damage or "start and duration"})'
            )
        is_needed = topic in config.named_topics or all(record.problem for record in records)
        if is_needed and all(record.problem for record in own):
            raise ValueError(f'no image of {topic} could be used; the first: {own[0].problem}')
