# SPDX-License-Identifier: Apache-2.0
"""Images whose results changed most between two replays, with both overlays."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.metrics.changed_share import changed_share
from panoptic_ros.node.camera_settings import topic_prefix
from panoptic_ros.node.topics import OVERLAY
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.replay.bootstrap import Pair
from panoptic_ros.replay.finished_run import ReplayRun
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.live_scores import read_results
from panoptic_ros.replay.report_images import choose_apart, shrunk_jpeg


class Change(NamedTuple):
    """An image of both runs and how much its result changed."""

    share: float
    """Share of the pixels, 0 to 1, that have another class or belong to another thing."""

    pair: Pair
    overlays: tuple[bytes, bytes] = (b'', b'')
    """The overlay of each run, JPEG at the camera's resolution."""

    def to_dict(self) -> dict[str, Any]:
        """Return camera, stamp and change in percent, for JSON."""
        first = self.pair[0]
        return {
            'camera': first.camera,
            'stamp_ns': first.stamp_ns,
            'changed': 100 * self.share,
            'pq': [record.pq for record in self.pair],
        }


def find_changes(
    runs: tuple[ReplayRun, ReplayRun],
    folders: tuple[Path, Path],
    pairs: Sequence[Pair],
    progress: Callable[[Iterator[Change]], Iterator[Change]] = iter,
) -> list[Change]:
    """Return the images that changed most, the most changed first; unchanged ones are left out.

    Args:
        runs: the two replays.
        folders: their folders, whose bags hold the results and the overlays.
        pairs: records of the images that are in both.
        progress: shows progress; receives one item for each image that is compared.

    Raises:
        FileNotFoundError: if a run has no bag.
        ValueError: if a bag cannot be read, is not that of the run, or holds no overlays, as that
            of a live run.
    """
    with Bag(folders[0] / 'bag') as a, Bag(folders[1] / 'bag') as b:
        first, second = _Side(a, runs[0], pairs), _Side(b, runs[1], pairs)
        measured = progress(_measure(first, second, pairs))
        changes = [change for change in measured if change.share > 0]
        ranked = sorted(changes, key=lambda change: -change.share)
        chosen = choose_apart(ranked, lambda change: change.pair[0])
        return [
            change._replace(
                overlays=(first.overlay(change.pair[0]), second.overlay(change.pair[1]))
            )
            for change in chosen
        ]


class _Side:
    """The results of one run, by camera."""

    def __init__(self, bag: Bag, run: ReplayRun, pairs: Sequence[Pair]) -> None:
        self.bag, self.name = bag, run.name
        cameras = run.value('cameras') or {}
        self.prefix = {camera: topic_prefix(camera, cameras) for camera in cameras}
        # The bag holds a result for each image without a problem, in the order of their times.
        self.results = {
            camera: sorted(
                (r for r in run.records if r.camera == camera and not r.problem),
                key=lambda record: record.recorded_ns,
            )
            for camera in cameras
        }
        for camera in {a.camera for a, _ in pairs} & set(cameras):
            if self._overlay_topic(camera) not in bag.topics:
                raise ValueError(f'the bag of {run.name} has no overlays')

    def frames(self, camera: str) -> Iterator[tuple[FrameRecord, PanopticFrame]]:
        """Yield the records of a camera's results with their frames.

        Raises:
            ValueError: if the bag holds the results of other images.
        """
        published = read_results(self.bag, self.prefix[camera])
        for record, result in zip(self.results[camera], published, strict=False):
            if result.stamp_ns != record.stamp_ns:
                raise ValueError(f'the bag of {self.name} does not match its frames.jsonl')
            yield record, result.frame

    def overlay(self, record: FrameRecord) -> bytes:
        """Return the overlay of an image as JPEG.

        Raises:
            ValueError: if the bag has none.
        """
        time_ns = max(0, record.recorded_ns)
        same = [r for r in self.results[record.camera] if max(0, r.recorded_ns) == time_ns]
        rank = next(i for i, other in enumerate(same) if other is record)
        topic = self._overlay_topic(record.camera)
        found = next(islice(self.bag.records([topic], time_ns, time_ns + 1), rank, None), None)
        if found is None or found.message is None:
            raise ValueError(f'the bag of {self.name} lacks the overlay of an image')
        message = found.message
        picture = np.frombuffer(message.data, np.uint8)
        return shrunk_jpeg(picture.reshape(message.height, message.width, 3))

    def _overlay_topic(self, camera: str) -> str:
        return f'/{self.prefix[camera]}{OVERLAY}'


def _measure(first: _Side, second: _Side, pairs: Sequence[Pair]) -> Iterator[Change]:
    """Yield the change of each image for which both runs have a result.

    Both bags are read once, in step. Images that the second run has in another order are skipped.
    """
    partner = {id(a): b for a, b in pairs if not a.problem and not b.problem}
    for camera in dict.fromkeys(a.camera for a, _ in pairs):
        if camera not in first.results or camera not in second.results:  # damaged summaries
            continue
        place = {id(record): i for i, record in enumerate(second.results[camera])}
        others = enumerate(second.frames(camera))
        at = -1
        for a, a_frame in first.frames(camera):
            b = partner.get(id(a))
            if b is None or place[id(b)] <= at:
                continue
            for at, (_, b_frame) in others:
                if at == place[id(b)]:
                    yield Change(changed_share(a_frame, b_frame), (a, b))
                    break
