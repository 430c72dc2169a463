# SPDX-License-Identifier: Apache-2.0
"""Lock-step replay: every image in order, through the image step of the node."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from panoptic_ros.core.text import one_line
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.camera_settings import settings_for
from panoptic_ros.node.counts import Drop
from panoptic_ros.node.image_step import DroppedImage, ImageStep, ProcessedImage
from panoptic_ros.node.model_loading import LoadedModel
from panoptic_ros.node.stages import Stage
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.recordings.recording import Record
from panoptic_ros.replay.config import Progress, ReplayConfig
from panoptic_ros.replay.diagnostics import ReplayDiagnostics
from panoptic_ros.replay.frame_records import MS_DIGITS, FrameRecord
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
        scores = {name: ReplayScores(info.network_labels) for name in config.ground_truths}
        worst = WorstFrames(info.labels)
        bag = stack.enter_context(
            ResultsBag(
                folder / 'bag',
                {name: config.topic_prefix(name) for name in config.cameras},
                info.labels,
                config.settings['output_scale'],
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
        counts = dict.fromkeys(config.cameras, 0)
        diagnostics = ReplayDiagnostics(loaded, config.cameras)
        for name, message in progress(config.images()):
            record = FrameRecord(name, counts[name], 0, message.time_ns)
            counts[name] += 1
            if not records:
                bag.add_labels(message.time_ns, _score_threshold(loaded, config))
            records.append(record)
            result = _process(record, message, steps[name], backend)
            processed = result if isinstance(result, ProcessedImage) else None
            gt = None
            if name in config.ground_truths and message.message is not None:
                gt = config.ground_truths[name].at(record.stamp_ns, record.recorded_ns)
            if gt is not None:
                score_frame(record, scores[name], gt, processed.frame if processed else None)
            if processed is not None:
                image, frame, _ = processed
                overlay = bag.add(name, message.time_ns, message.message.header, image, frame)
                picture = overlay.data.reshape(overlay.height, overlay.width, 3)
                videos[name].add(picture, frame.stamp_s)
                worst.add(record, image, picture, gt)
            diagnostics.add(record, result, steps[name].pipeline.tracks)
            if diagnostics.is_due(message.time_ns):
                bag.add_diagnostics(message.time_ns, diagnostics)
        reused = backend.logged
    _check_usable(records, config)
    total = merge_scores(records, scores)
    return ReplayResult(records, total, worst, time.perf_counter() - start_s, reused)


def _process(
    record: FrameRecord, message: Record, step: ImageStep, backend: LoggedBackend
) -> ProcessedImage | DroppedImage:
    """Process one image as the node does, and note the result in its record.

    Raises:
        OSError: if the log of outputs cannot be written.
    """
    if message.message is None:
        result: ProcessedImage | DroppedImage = DroppedImage(Drop.BAD_IMAGE, message.problem)
    else:
        record.stamp_ns = header_stamp_ns(message.message)
        result = step(message.message, message.time_ns / 1e9)
        record.stamp_problem = step.clock.problem
    if isinstance(result, DroppedImage):
        if isinstance(result.error, OSError):  # the disk is full; a later run can resume here
            raise result.error
        if isinstance(result.error, InferenceError):  # its text already names the kind of error
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
