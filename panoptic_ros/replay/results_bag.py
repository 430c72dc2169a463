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
from panoptic_ros.node.parameters import NODE
from panoptic_ros.node.topics import (
    DIAGNOSTICS,
    LATCHED,
    OVERLAY,
    FrameSource,
    frame_topics,
    label_topics,
)
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.recordings.bag_writer import BagWriter
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
        self._types = BagTypes()
        self._labels, self._scale = labels, scale
        self._topics = {
            camera: [
                (topic, f'{prefix}{topic.name}', topic.maker(self._types))
                for topic in frame_topics(self._types.vision)
            ]
            for camera, prefix in prefixes.items()
        }
        self._label_topics = label_topics(self._types.vision)
        kinds = {name: topic.kind for topics in self._topics.values() for topic, name, _ in topics}
        kinds |= {topic.name: topic.kind for topic in self._label_topics}
        kinds |= {DIAGNOSTICS: DIAGNOSTICS_TYPE}
        self._bag = BagWriter(path, kinds, LATCHED, self._types.store)

    def __enter__(self) -> ResultsBag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bag.__exit__(kind, error, trace)

    def add_labels(self, time_ns: int, score_threshold: float) -> None:
        """Writes what the class ids mean."""
        for topic in self._label_topics:
            message = topic.make(
                self._types, self._labels, score_threshold, self._types.time(time_ns)
            )
            self._bag.write(topic.name, time_ns, message)

    def add_health(self, time_ns: int, health: Health) -> None:
        """Writes what the node would have said of itself at a time of the recording."""
        message = diagnostic_array(
            self._types,
            health.statuses(time_ns),
            f'/{NODE}',
            health.device,
            self._types.time(time_ns),
        )
        self._bag.write(DIAGNOSTICS, time_ns, message)

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
        source = FrameSource(header, image, frame, self._labels, self._scale)
        overlay = None
        for topic, name, make in self._topics[camera]:
            message = make(source)
            self._bag.write(name, time_ns, message)
            overlay = message if topic.name == OVERLAY else overlay
        return overlay
