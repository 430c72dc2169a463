# SPDX-License-Identifier: Apache-2.0
"""Recorder of the serialised messages of camera and node, and the demo's result files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panoptic_ros.core.files import write_json
from panoptic_ros.node.topic_recorder import TopicRecorder
from panoptic_ros.node.topics import (
    BESIDE,
    CLOUDS,
    COMPRESSED_INPUT,
    IMAGE,
    OVERLAY,
    RECORDED_INPUT,
)
from panoptic_ros.recordings.contact_sheet import ContactSheet
from panoptic_ros.recordings.overlay_video import OverlayVideo

MAX_IMAGE_BYTES = 500_000_000
"""Size of the camera's images and depth in the bag after which no more of them are stored."""

NOT_IN_BAG = {OVERLAY, *CLOUDS}


class Recorder(TopicRecorder):
    """Writes the overlay into a video and a contact sheet, and other topics into a bag.

    The bag also gets the camera's images and what is beside them, so that it can be replayed. It
    gets no clouds, which are large.
    """

    def __init__(
        self, folder: Path, topics: Mapping[str, str], latched: frozenset[str], rate_hz: float
    ) -> None:
        """Open the files; see `TopicRecorder`.

        Args:
            folder: an existing folder for the files.
            topics: message type by topic, of the node's topics, `RECORDED_INPUT` and what is
                beside the images.
            latched: topics with transient local durability.
            rate_hz: rate of the camera, Hz.
        """
        super().__init__(
            folder,
            {
                COMPRESSED_INPUT if topic == RECORDED_INPUT else topic: kind
                for topic, kind in topics.items()
                if topic not in NOT_IN_BAG
            },
            latched,
        )
        self.overlays = 0
        self.left_out = 0
        """Number of the camera's images that were not stored for lack of space."""
        self._image_bytes = 0
        self._folder = folder
        self._sheet = ContactSheet()
        self._video = self.enter_context(OverlayVideo(folder / 'overlay.mp4', rate_hz))

    def take(self, topic: str, data: bytes, time_ns: int) -> None:
        """See `TopicRecorder`."""
        if topic == OVERLAY:
            self._take_overlay(data)
        elif topic not in (RECORDED_INPUT, *BESIDE):
            if topic not in NOT_IN_BAG:
                super().take(topic, data, time_ns)
        elif self._image_bytes > MAX_IMAGE_BYTES:
            self.left_out += topic == RECORDED_INPUT
        else:
            self._image_bytes += len(data)
            super().take(COMPRESSED_INPUT if topic == RECORDED_INPUT else topic, data, time_ns)

    def _take_overlay(self, data: bytes) -> None:
        message: Any = self._store.deserialize_cdr(data, IMAGE)
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
        """Complete the files: after this the folder holds `RESULTS`, without `RERUN_FILE`.

        Returns:
            The summary; see `NodeHealth.summary`.

        Raises:
            ValueError: if the node published nothing, or a file cannot be written.
        """
        summary = self.summary()
        write_json(summary, self._folder / 'summary.json')
        sheet = cv2.cvtColor(self._sheet.draw(), cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(self._folder / 'contact_sheet.png'), sheet):
            raise ValueError('OpenCV could not write contact_sheet.png')
        capture = cv2.VideoCapture(str(self._folder / 'overlay.mp4'))
        readable = capture.read()[0]
        capture.release()
        if not readable:
            raise ValueError('OpenCV wrote overlay.mp4, but cannot read it')
        return summary
