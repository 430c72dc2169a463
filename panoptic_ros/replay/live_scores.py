# SPDX-License-Identifier: Apache-2.0
"""What the real node made of a bag that was played to it, from the bag of its topics."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
from panoptic_ros.node.loading import Loaded
from panoptic_ros.node.topics import INSTANCES, SEGMENTS
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.replay.frame_records import MS_DIGITS, FrameRecord
from panoptic_ros.replay.run import Job, Outcome, Progress, finish_scores, score
from panoptic_ros.replay.scores import Scores
from panoptic_ros.replay.worst import WorstFrames
from panoptic_ros.tracking import StampClock

DROPPED = 'no result of its own'


def read_results(bag: Path) -> Iterator[tuple[int, int, PanopticFrame]]:
    """The frames that a node published, in order.

    Args:
        bag: of its topics; segments at the camera's resolution. Of several with one stamp the
            first map belongs to the first table, and so on.

    Returns:
        Stamp (ns), when the instance table came (ns), and the frame.
    """
    waiting: dict[int, dict[str, deque[Any]]] = {}
    topics = f'/{SEGMENTS}', f'/{INSTANCES}'
    with Bag(bag) as recording:
        for record in recording.records(list(topics)):
            if record.message is None:
                continue
            stamp = header_stamp_ns(record.message)
            parts = waiting.setdefault(stamp, {name: deque() for name in topics})
            parts[record.topic].append(record.message)
            if all(parts.values()):
                segments, instances = (parts[name].popleft() for name in topics)
                if not any(parts.values()):
                    del waiting[stamp]
                yield stamp, record.time_ns, _frame(segments, instances, stamp)


def _frame(segments: Any, instances: Any, stamp_ns: int) -> PanopticFrame:
    size = segments.height, segments.width
    order = '>' if segments.is_bigendian else '<'
    cells = np.frombuffer(segments.data, f'{order}u2').reshape(size).astype(np.uint16)
    return PanopticFrame(cells, read_instances(instances), Geometry(size, size, 1), stamp_ns / 1e9)


def score_live(
    job: Job,
    loaded: Loaded,
    bag: Path,
    sent: Sequence[tuple[int, int]],
    wall_s: float,
    video: OverlayVideo,
    progress: Progress = iter,
) -> Outcome:
    """Scores what a node published for each image of the bag.

    An image without a result is scored with the last result before it, for that is what a robot
    has at that moment; before the first, with nothing. Results belong to the images with their
    stamp; of images that share a stamp the first ones get the results, in order.

    Args:
        job: what was played; it has one camera.
        loaded: the node's model.
        bag: of the node's topics.
        sent: stamp and time of each image that was played, in order, ns.
        wall_s: how long the playing took.
        video: gets the overlay of each result.
        progress: shows how far it is.
    """
    (name,) = job.cameras
    labels = loaded.predictor.info.labels
    clock, fallback = StampClock(), cv_bridge_fallback()
    scores = {one: Scores(labels) for one in job.truths}
    worst, records = WorstFrames(labels), []
    results = read_results(bag)
    following = next(results, None)
    played = iter(sent)
    to_come = Counter(stamp for stamp, _ in sent)  # images by stamp
    frame: PanopticFrame | None = None
    for place, (_, message) in enumerate(progress(job.images())):
        record = FrameRecord(name, place, 0, message.time_ns)
        records.append(record)
        if message.message is None:
            record.problem = DroppedImage(Drop.BAD_IMAGE, message.problem).problem
            continue
        stamp = record.stamp_ns = header_stamp_ns(message.message)
        time_s = clock.time_of(header_stamp_s(message.message), message.time_ns / 1e9)
        record.stamp_problem = clock.problem
        _, sent_ns = next(played, (stamp, None))
        # The node drops images, and keeps the order of the others.
        while following is not None and to_come[following[0]] <= 0:
            frame, following = following[2], next(results, None)
        to_come[stamp] -= 1
        if following is not None and following[0] == stamp:
            _, came_ns, frame = following
            following = next(results, None)
            record.describe(frame)
            if sent_ns is not None:
                record.times_ms = {'total': round((came_ns - sent_ns) / 1e6, MS_DIGITS)}
        else:
            record.problem, record.stale = DROPPED, frame is not None
        truth = job.truths[name].at(stamp, message.time_ns) if name in job.truths else None
        if truth is not None:
            score(record, scores[name], truth, frame)
        if frame is not None:
            try:
                picture = read_message(message.message, fallback, job.settings['max_image_pixels'])
            except ValueError:
                continue
            if picture.pixels.shape[:2] == frame.geometry.image_size:
                overlay = draw_overlay(picture, frame, labels)
                worst.add(record, overlay, truth)
                video.add(overlay, time_s)
    return Outcome(records, finish_scores(records, scores), worst, wall_s, 0)
