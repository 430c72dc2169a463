# SPDX-License-Identifier: Apache-2.0
"""Scores of what a running node published while a recording was played to it."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.core.frame import Geometry, PanopticFrame, read_instances
from panoptic_ros.core.overlay import draw_overlay
from panoptic_ros.images.messages import (
    cv_bridge_fallback,
    header_stamp_ns,
    header_stamp_s,
    read_message,
)
from panoptic_ros.node.counts import Drop
from panoptic_ros.node.image_step import DroppedImage
from panoptic_ros.node.model_loading import LoadedModel
from panoptic_ros.node.topics import INSTANCES, SEGMENTS
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.replay.config import Progress, ReplayConfig
from panoptic_ros.replay.frame_records import MS_DIGITS, FrameRecord
from panoptic_ros.replay.run import ReplayResult
from panoptic_ros.replay.scores import ReplayScores, merge_scores, score_frame
from panoptic_ros.replay.worst import WorstFrames
from panoptic_ros.tracking import StampClock

DROPPED = 'no result of its own'
"""Problem of an image for which the node published no result."""


class PublishedFrame(NamedTuple):
    """A frame that a node published."""

    stamp_ns: int
    received_ns: int
    """Time at which the instance table was recorded."""

    frame: PanopticFrame


def read_results(
    bag: Bag, prefix: str = '', unknown_id: int | None = None
) -> Iterator[PublishedFrame]:
    """Yield the frames that a node published, in order, each at the resolution of its map.

    Args:
        bag: recording of the node's topics. If several maps have the same stamp, the first
            belongs to the first table, and so on.
        prefix: of the topics; see `topic_prefix`.
        unknown_id: class id of unknown segments, of the node's model.
    """
    waiting: dict[int, dict[str, deque[Any]]] = {}
    topics = f'/{prefix}{SEGMENTS}', f'/{prefix}{INSTANCES}'
    for record in bag.records(list(topics)):
        if record.message is None:
            continue
        stamp_ns = header_stamp_ns(record.message)
        parts = waiting.setdefault(stamp_ns, {name: deque() for name in topics})
        parts[record.topic].append(record.message)
        if all(parts.values()):
            segments, instances = (parts[name].popleft() for name in topics)
            if not any(parts.values()):
                del waiting[stamp_ns]
            frame = replace(_frame(segments, instances, stamp_ns), unknown_id=unknown_id)
            yield PublishedFrame(stamp_ns, record.time_ns, frame)


def _frame(segments: Any, instances: Any, stamp_ns: int) -> PanopticFrame:
    size = segments.height, segments.width
    order = '>' if segments.is_bigendian else '<'
    cells = np.frombuffer(segments.data, f'{order}u2').reshape(size).astype(np.uint16)
    return PanopticFrame(cells, read_instances(instances), Geometry(size, size, 1), stamp_ns / 1e9)


def score_live(
    config: ReplayConfig,
    loaded: LoadedModel,
    bag: Bag,
    sent: Sequence[tuple[int, int]],
    wall_s: float,
    video: OverlayVideo,
    progress: Progress = iter,
) -> ReplayResult:
    """Score what a node published for each image of a recording.

    An image without a result is scored with the last earlier result, which is what a robot has at
    that moment; before the first result, with an empty frame. Results belong to the images with
    their stamp; of images that share a stamp the first ones get the results, in order.

    Args:
        config: settings of the playback, with a single camera.
        loaded: the node's model.
        bag: recording of the node's topics.
        sent: header stamp and time of sending of each image that was played, in order, ns.
        wall_s: duration of the playback.
        video: receives the overlay of each image.
        progress: shows progress.
    """
    (name,) = config.cameras
    info = loaded.predictor.info
    labels = info.labels
    clock, fallback = StampClock(), cv_bridge_fallback()
    scores = {camera: ReplayScores(info.network_labels) for camera in config.ground_truths}
    worst, records = WorstFrames(labels), []
    results = read_results(bag, unknown_id=info.unknown_id)
    upcoming = next(results, None)
    played = iter(sent)
    remaining = Counter(stamp_ns for stamp_ns, _ in sent)  # images still to come, by stamp
    frame: PanopticFrame | None = None
    for index, (_, message) in enumerate(progress(config.images())):
        record = FrameRecord(name, index, 0, message.time_ns)
        records.append(record)
        if message.message is None:
            record.problem = DroppedImage(Drop.BAD_IMAGE, message.problem).problem
            continue
        stamp_ns = record.stamp_ns = header_stamp_ns(message.message)
        time_s = clock.time_of(header_stamp_s(message.message), message.time_ns / 1e9)
        record.stamp_problem = clock.problem
        _, sent_ns = next(played, (stamp_ns, None))
        # The node drops images but keeps the order of the others.
        while upcoming is not None and remaining[upcoming.stamp_ns] <= 0:
            frame, upcoming = upcoming.frame, next(results, None)
        remaining[stamp_ns] -= 1
        if upcoming is not None and upcoming.stamp_ns == stamp_ns:
            _, received_ns, frame = upcoming
            upcoming = next(results, None)
            record.describe(frame)
            if sent_ns is not None:
                record.times_ms = {'total': round((received_ns - sent_ns) / 1e6, MS_DIGITS)}
        else:
            record.problem, record.stale = DROPPED, frame is not None
        gt = None
        if name in config.ground_truths:
            gt = config.ground_truths[name].at(stamp_ns, message.time_ns)
        if gt is not None:
            score_frame(record, scores[name], gt, frame)
        if frame is not None:
            try:
                image = read_message(
                    message.message, fallback, config.settings['max_image_pixels']
                )
            except ValueError:
                continue
            if image.pixels.shape[:2] == frame.geometry.image_size:
                overlay = draw_overlay(image, frame, labels)
                worst.add(record, image, overlay, gt)
                video.add(overlay, time_s)
    return ReplayResult(records, merge_scores(records, scores), worst, wall_s)
