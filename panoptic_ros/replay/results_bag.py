# SPDX-License-Identifier: Apache-2.0
"""The results bag: the node's topics, as the node would have published them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.node.diagnostics import DIAGNOSTICS_TYPE, diagnostic_array
from panoptic_ros.node.messages import FrameMessages, frame_topics, label_message, label_topics
from panoptic_ros.node.parameters import NODE
from panoptic_ros.recordings.bag_types import BagTypes, qos
from panoptic_ros.replay.diagnostics import Health


class ResultsBag:
    """Writes frames of several cameras into one mcap bag."""

    def __init__(self, path: Path, prefixes: dict[str, str], labels: LabelSet, scale: str) -> None:
        """Opens the bag.

        Args:
            path: of its folder, which does not exist yet.
            prefixes: what goes before the topics, by camera.
            labels: what the class ids mean.
            scale: the parameter `output_scale`.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self._types = BagTypes()
        self._labels, self._scale = labels, scale
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        # Inside the file, so that readers still find their way; maps shrink a hundredfold.
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._messages = {camera: FrameMessages(self._types) for camera in prefixes}
        topics = frame_topics(self._types.vision)
        self._kinds = topics
        self._connections = {
            (camera, topic): self._connect(f'/{prefix}{topic}', kind, latched=False)
            for camera, prefix in prefixes.items()
            for topic, kind in topics.items()
        }
        self._label_kinds = label_topics(self._types.vision)
        self._label_connections = {
            topic: self._connect(f'/{topic}', kind, latched=True)
            for topic, kind in self._label_kinds.items()
        }
        self._health = self._connect('/diagnostics', DIAGNOSTICS_TYPE, latched=False)

    def __enter__(self) -> ResultsBag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def add_labels(self, time_ns: int, score_threshold: float) -> None:
        """Writes what the class ids mean."""
        for topic, kind in self._label_kinds.items():
            message = label_message(
                self._types, topic, self._labels, score_threshold, self._types.time(time_ns)
            )
            self._write(self._label_connections[topic], kind, time_ns, message)

    def add_health(self, time_ns: int, health: Health) -> None:
        """Writes what the node would have said of itself at a time of the recording."""
        message = diagnostic_array(
            self._types,
            health.statuses(time_ns),
            f'/{NODE}',
            health.device,
            self._types.time(time_ns),
        )
        self._write(self._health, DIAGNOSTICS_TYPE, time_ns, message)

    def add(
        self, camera: str, time_ns: int, header: Any, image: CameraImage, frame: PanopticFrame
    ) -> Any:
        """Writes what the node would have published for an image.

        Args:
            camera: whose image it is.
            time_ns: when the image was recorded.
            header: of the image.
            image: itself.
            frame: what was seen in it.

        Returns:
            The overlay's message; it is filled again by the next call.
        """
        message = None
        for topic, kind in self._kinds.items():
            made = self._messages[camera].make(
                topic, header, image, frame, self._labels, self._scale
            )
            self._write(self._connections[camera, topic], kind, time_ns, made)
            message = made if topic == 'panoptic/overlay' else message
        return message

    def _connect(self, topic: str, kind: str, latched: bool) -> Any:
        return self._writer.add_connection(
            topic, kind, typestore=self._types.store, offered_qos_profiles=[qos(latched)]
        )

    def _write(self, connection: Any, kind: str, time_ns: int, message: Any) -> None:
        # Bags hold no times before 1970.
        self._writer.write(
            connection, max(0, time_ns), self._types.store.serialize_cdr(message, kind)
        )
