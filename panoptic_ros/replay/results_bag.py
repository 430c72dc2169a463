# SPDX-License-Identifier: Apache-2.0
"""Bag of the topics that the node would have published for a recording."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.node.camera_settings import settings_for
from panoptic_ros.node.diagnostics import DIAGNOSTICS_TYPE, diagnostic_array
from panoptic_ros.node.notices import Notices
from panoptic_ros.node.parameters import NODE
from panoptic_ros.node.scene import Metres
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
from panoptic_ros.replay.diagnostics import ReplayDiagnostics


class ResultsBag(BagWriter):
    """Writer of a bag with the results of several cameras."""

    def __init__(
        self,
        path: Path,
        prefixes: Mapping[str, str],
        labels: LabelSet,
        settings: Mapping[str, Any],
        in_metres: Collection[str] = (),
    ) -> None:
        """Open the bag.

        Args:
            path: folder of the bag; must not exist.
            prefixes: prefix of the topics, by camera.
            labels: the model's classes.
            settings: values of the parameters.
            in_metres: cameras with depth. Their boxes are written too, but not the clouds, which
                are large.
        """
        self._types = BagTypes()
        self._labels, self._settings = labels, settings
        self._topics = {
            camera: [
                (topic, f'{prefix}{topic.name}', topic.maker(self._types))
                for topic in frame_topics(self._types.vision)
                if not topic.in_metres or (topic.needs_positions and camera in in_metres)
            ]
            for camera, prefix in prefixes.items()
        }
        self._notices = Notices()
        self._label_topics = label_topics(self._types.vision)
        kinds = {name: topic.kind for topics in self._topics.values() for topic, name, _ in topics}
        kinds |= {topic.name: topic.kind for topic in self._label_topics}
        kinds |= {DIAGNOSTICS: DIAGNOSTICS_TYPE}
        super().__init__(path, kinds, LATCHED, self._types.store)

    def add_labels(self, time_ns: int, score_threshold: float) -> None:
        """Write the latched messages that describe the classes."""
        for topic in self._label_topics:
            message = topic.make(
                self._types, self._labels, score_threshold, self._types.time(time_ns)
            )
            self.write(topic.name, time_ns, message)

    def add_diagnostics(self, time_ns: int, diagnostics: ReplayDiagnostics) -> None:
        """Write the diagnostics at a time of the recording."""
        message = diagnostic_array(
            self._types,
            diagnostics.statuses(time_ns),
            f'/{NODE}',
            diagnostics.device,
            self._types.time(time_ns),
        )
        self.write(DIAGNOSTICS, time_ns, message)

    def add(
        self,
        camera: str,
        time_ns: int,
        header: Any,
        image: CameraImage,
        frame: PanopticFrame,
        metres: Metres | None = None,
    ) -> Any:
        """Write the messages that the node publishes for an image.

        Args:
            camera: of the image.
            time_ns: time of its recording.
            header: of the image's message.
            image: the image.
            frame: its result.
            metres: depth of the camera, if it has any.

        Returns:
            The message of the overlay, which the next call overwrites.
        """
        scale = self._settings['output_scale']
        source = FrameSource.of_model(header, image, frame, self._labels, scale)
        if metres is not None:
            source = source.located(metres, settings_for(camera, self._settings))
        overlay = None
        for topic, name, make in self._topics[camera]:
            message = make(source)
            if message is None:
                if topic.missing:
                    self._notices.warn(name, topic.nothing_to_publish)
                continue
            self.write(name, time_ns, message)
            overlay = message if topic.name == OVERLAY else overlay
        return overlay
