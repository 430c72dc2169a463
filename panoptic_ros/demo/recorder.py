# SPDX-License-Identifier: Apache-2.0
"""Takes the node's serialised messages and keeps what the demo leaves behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from panoptic_ros.demo.health import Health, read_health
from panoptic_ros.demo.pictures import ContactSheet, OverlayVideo
from panoptic_ros.interface.bag_types import qos, typestore

if TYPE_CHECKING:
    from typing_extensions import Self

OVERLAY = 'panoptic/overlay'
DIAGNOSTICS = 'diagnostics'

RESULTS = ('overlay.mp4', 'contact_sheet.png', 'bag', 'summary.json')
"""What a run leaves, in its folder."""


class TopicRecorder:
    """Writes topics into a bag, and reads the node's diagnostics on the way."""

    def __init__(self, folder: Path, topics: Mapping[str, str], latched: frozenset[str]) -> None:
        """Opens the bag.

        Args:
            folder: exists, and gets `bag`.
            topics: message type by topic, without a leading slash.
            latched: those of them that late subscribers still get.

        Raises:
            ValueError: if a message type has no definition here.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self.health: Health | None = None
        """What the node said last."""
        self.at_work: Health | None = None
        """What it said last that had published images since the time before."""
        self.taken = 0
        """Messages in the bag, but for diagnostics."""
        self._store = typestore(topics.values())
        self._stack = ExitStack()
        self._types = dict(topics)
        writer = Writer(folder / 'bag', version=9, storage_plugin=StoragePlugin.MCAP)
        # Maps of segments shrink a hundredfold.
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._bag = self._stack.enter_context(writer)
        self._connections = {
            topic: writer.add_connection(
                f'/{topic}',
                kind,
                typestore=self._store,
                offered_qos_profiles=[qos(topic in latched)],
            )
            for topic, kind in topics.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def take(self, topic: str, data: bytes, time_ns: int) -> None:
        """Takes one message.

        Args:
            topic: without a leading slash.
            data: the message in CDR.
            time_ns: when it came.
        """
        self._bag.write(self._connections[topic], time_ns, data)
        if topic != DIAGNOSTICS:
            self.taken += 1
            return
        health = read_health(self._store.deserialize_cdr(data, self._types[topic]))
        if health is None:
            return
        before = self.health.counts['published'] if self.health else 0
        if health.counts['published'] > before:
            self.at_work = health
        self.health = health

    def summary(self) -> dict[str, Any]:
        """Completes the bag; see `Health.summary`.

        Raises:
            ValueError: if the node said nothing, or published nothing.
        """
        self._stack.close()
        if self.health is None:
            raise ValueError('the node said nothing on /diagnostics')
        return self.health.summary(self.at_work.rate_hz if self.at_work else 0.0)


class Recorder(TopicRecorder):
    """Writes all topics but the overlay into a bag, and the overlay into video and sheet."""

    def __init__(
        self, folder: Path, topics: Mapping[str, str], latched: frozenset[str], rate_hz: float
    ) -> None:
        """Opens the files; see `TopicRecorder`.

        Args:
            folder: exists, and gets the files.
            topics: message type by topic.
            latched: those of them that late subscribers still get.
            rate_hz: of the camera.
        """
        super().__init__(
            folder, {topic: kind for topic, kind in topics.items() if topic != OVERLAY}, latched
        )
        self.overlays = 0
        self._folder = folder
        self._sheet = ContactSheet()
        self._types = dict(topics)
        self._video = self._stack.enter_context(OverlayVideo(folder / 'overlay.mp4', rate_hz))

    def take(self, topic: str, data: bytes, time_ns: int) -> None:
        """See `TopicRecorder`."""
        if topic != OVERLAY:
            super().take(topic, data, time_ns)
            return
        message: Any = self._store.deserialize_cdr(data, self._types[topic])
        picture = np.ndarray(
            (message.height, message.width, 3),
            np.uint8,
            message.data,
            strides=(message.step, 3, 1),
        )
        stamp = message.header.stamp
        self._video.add(picture, stamp.sec + stamp.nanosec * 1e-9)
        self._sheet.add(picture)
        self.overlays += 1

    def finish(self) -> dict[str, Any]:
        """Completes the files: all of `RESULTS` lie in the folder then.

        Returns:
            The summary; see `Health.summary`.

        Raises:
            ValueError: if one of them could not be made.
        """
        summary = self.summary()
        (self._folder / 'summary.json').write_text(
            json.dumps(summary, indent=2) + '\n', encoding='utf-8'
        )
        sheet = cv2.cvtColor(self._sheet.draw(), cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(self._folder / 'contact_sheet.png'), sheet):
            raise ValueError('OpenCV could not write contact_sheet.png')
        capture = cv2.VideoCapture(str(self._folder / 'overlay.mp4'))
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise ValueError('OpenCV wrote overlay.mp4 but cannot read it')
        return summary


def move_results(source: Path, target: Path) -> None:
    """Puts complete results in the place of older ones; both folders lie on one disk."""
    for name in RESULTS:
        if (target / name).is_dir():
            shutil.rmtree(target / name)
        (source / name).replace(target / name)
