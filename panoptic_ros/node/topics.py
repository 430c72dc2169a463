# SPDX-License-Identifier: Apache-2.0
"""Topics that the node publishes, one row per topic.

The node's publishers, the results bag of a replay, the recorder and the benchmark read the rows.
A new topic needs a row here and the function that makes its message.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.label_remap import published_frame
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.overlay import draw_overlay
from panoptic_ros.node.diagnostics import DIAGNOSTICS_TYPE
from panoptic_ros.node.markers import MarkerWriter
from panoptic_ros.node.messages import (
    ImageWriter,
    MessageTypes,
    detections_message,
    instances_message,
    label_info_message,
    label_json_message,
)
from panoptic_ros.node.metric_messages import (
    CLOUD_TYPE,
    CloudWriter,
    PointsWriter,
    detections_3d_message,
)
from panoptic_ros.node.scene import Metres, Scene
from panoptic_ros.node.stages import Stage

IMAGE = 'sensor_msgs/msg/Image'

RAW_INPUT, COMPRESSED_INPUT = 'image', 'image/compressed'
"""Topics of the camera's images, to which the node subscribes."""

INFO_INPUT, CLOUD_INPUT = 'camera_info', 'cloud'
DEPTH_INPUT, COMPRESSED_DEPTH_INPUT = 'depth', 'depth/compressedDepth'
"""Topics of the inputs beside the images, see `panoptic_ros.node.side_input`."""

BESIDE = (INFO_INPUT, DEPTH_INPUT, COMPRESSED_DEPTH_INPUT)
"""Inputs beside the images that are read from recordings."""

RECORDED_INPUT = 'demo/image/compressed'
"""Topic of the demo's camera with each of its images once more, for the recorder. Small reliable
messages reach it on a slow machine too, where raw images get lost."""

INPUT_TYPES = {
    RAW_INPUT: IMAGE,
    COMPRESSED_INPUT: 'sensor_msgs/msg/CompressedImage',
    INFO_INPUT: 'sensor_msgs/msg/CameraInfo',
    DEPTH_INPUT: IMAGE,
    COMPRESSED_DEPTH_INPUT: 'sensor_msgs/msg/CompressedImage',
    CLOUD_INPUT: CLOUD_TYPE,
}
"""Message types of all inputs."""

SEGMENTS = 'panoptic/segments'
SEMANTIC = 'panoptic/semantic'
INSTANCES = 'panoptic/instances'
OVERLAY = 'panoptic/overlay'
POINTS = 'panoptic/points'
CLOUD = 'panoptic/cloud'
MARKERS = 'panoptic/markers'
LABEL_INFO = 'panoptic/label_info'
DIAGNOSTICS = 'diagnostics'

CLOUDS = frozenset({POINTS, CLOUD})
"""Topics of large messages, which recordings leave out."""


class FrameSource(NamedTuple):
    """Values from which the messages of a frame are made."""

    header: Any
    """Header of the camera's image."""

    image: CameraImage

    frame: PanopticFrame
    """Segments with the published class ids."""

    labels: LabelSet
    """Classes by published id."""

    scale: str
    """Resolution of maps: `camera`, or `network` for that of the decoded maps."""

    scene: Scene | None = None
    """What is known in metres; None without depth and cloud."""

    @property
    def located_frame(self) -> PanopticFrame:
        """The frame, with positions in metres where they are known."""
        return self.frame if self.scene is None else self.scene.frame

    @classmethod
    def of_model(
        cls, header: Any, image: CameraImage, frame: PanopticFrame, labels: LabelSet, scale: str
    ) -> 'FrameSource':
        """Return the values for a model's frame and classes, which a label remap may change."""
        return cls(header, image, published_frame(frame, labels), labels.by_published_id, scale)

    def located(self, metres: Metres, settings: Mapping[str, Any]) -> 'FrameSource':
        """Return the values with the scene of the image; see `Metres.scene`."""
        return self._replace(scene=metres.scene(self.header, self.frame, settings))


@dataclass(frozen=True)
class Topic:
    """One topic."""

    name: str

    kind: str
    """Message type; a type of vision_msgs leaves the topic out where that is not installed."""

    contents: str
    """Short description for users."""

    make: Callable[..., Any]
    """Makes a message: of a frame from (the writer, FrameSource), or None if the frame has no
    values for it; if the topic is latched, from (MessageTypes, LabelSet, score threshold, stamp).
    """

    latched: bool = False
    """True if a message is published for each model and not for each frame. Late subscribers
    receive the last one, and a camera's name does not precede the topic."""

    in_metres: bool = False
    """Whether it needs depth or a lidar's cloud: `make` has a third argument, the `Scene`, and no
    message is made without one."""

    missing: str = ''
    """Why a frame can lack the values for a message, and what to do; empty for topics in metres,
    whose inputs warn themselves."""

    needs_positions: bool = False
    """Whether its messages hold positions of segments."""

    stage: Stage = Stage.MESSAGES
    """Stage of making its messages."""

    writer: Callable[[MessageTypes], Any] = ImageWriter
    """Makes the writer of one camera's messages, which `make` receives."""

    depth: int = 5
    """Number of messages that are kept for slow subscribers."""

    @property
    def nothing_to_publish(self) -> str:
        """Warning that frames lack the values for this topic."""
        return f'nothing is published on {self.name}: {self.missing}'

    def maker(self, types: MessageTypes) -> Callable[[FrameSource], Any]:
        """Return the function that makes the messages of one camera's frames."""
        writer = self.writer(types)
        if self.in_metres:
            return lambda source: source.scene and self.make(writer, source, source.scene)
        return partial(self.make, writer)


def map_message(
    out: ImageWriter, source: FrameSource, encoding: str, cell_map: npt.NDArray[Any]
) -> Any:
    """Return an image with one value per pixel.

    Args:
        out: writer of the image.
        source: values of the frame.
        encoding: mono8 or mono16.
        cell_map: (H, W) at the decoding resolution, of the type that the encoding needs.
    """
    geometry = source.frame.geometry
    if source.scale == 'camera':
        geometry.to_camera(cell_map, out.pixels(encoding, source.header, geometry.image_size))
    else:
        out.pixels(encoding, source.header, geometry.map_size)[:] = cell_map
    return out.message


def confidence_message(out: ImageWriter, source: FrameSource) -> Any:
    """Return an image of confidences, or None if the model gives none."""
    confidence_map = source.frame.confidence_map
    return None if confidence_map is None else map_message(out, source, 'mono8', confidence_map)


def overlay_message(out: ImageWriter, source: FrameSource) -> Any:
    """Return the camera's image with classes as colours, outlines and ids."""
    pixels = out.pixels('rgb8', source.header, source.frame.geometry.image_size)
    draw_overlay(source.image, source.frame, source.labels, pixels)
    return out.message


TOPICS = (
    Topic(
        SEGMENTS,
        IMAGE,
        'mono16: segment id of each pixel, 0 = void; a key into the instance table',
        lambda out, source: map_message(out, source, 'mono16', source.frame.segment_map),
    ),
    Topic(
        SEMANTIC,
        IMAGE,
        'mono8: class id of each pixel, 255 = void',
        lambda out, source: map_message(out, source, 'mono8', source.frame.semantic_map),
    ),
    Topic(
        INSTANCES,
        'sensor_msgs/msg/PointCloud2',
        'the instance table: one point per segment with class, track id, box, embedding',
        lambda out, source: instances_message(out.types, source.header, source.located_frame),
        needs_positions=True,
    ),
    Topic(
        'panoptic/confidence',
        IMAGE,
        'mono8: probability of the class or mask of each pixel times 255, 0 on void',
        confidence_message,
        missing='the model file is of version 0.1.0 and has no confidence; export the model again',
    ),
    Topic(
        OVERLAY,
        IMAGE,
        'rgb8: the image with classes as colours, outlines and ids',
        overlay_message,
    ),
    Topic(
        'panoptic/detections',
        'vision_msgs/msg/Detection2DArray',
        'things; `id` is the track id',
        lambda out, source: detections_message(out.types, source.header, source.frame),
    ),
    Topic(
        POINTS,
        CLOUD_TYPE,
        'with depth and camera_info: organised cloud of every `points.stride`-th pixel, with rgb, '
        'class_id, track_id and confidence',
        lambda out, source, scene: out(source.header, source.image, scene),
        in_metres=True,
        stage=Stage.POINTS,
        writer=PointsWriter,
        depth=1,
    ),
    Topic(
        CLOUD,
        CLOUD_TYPE,
        'with a lidar: its cloud under its own header, with class_id, track_id and confidence',
        lambda out, source, scene: out(scene),
        in_metres=True,
        stage=Stage.CLOUD,
        writer=CloudWriter,
    ),
    Topic(
        MARKERS,
        'visualization_msgs/msg/MarkerArray',
        'with depth or lidar: boxes, labels and velocities of things',
        lambda out, source, scene: out(source.header, source.labels, scene),
        in_metres=True,
        needs_positions=True,
        stage=Stage.MARKERS,
        writer=MarkerWriter,
    ),
    Topic(
        'panoptic/detections_3d',
        'vision_msgs/msg/Detection3DArray',
        'with depth or lidar: things with a position; `id` is the track id',
        lambda out, source, scene: detections_3d_message(out.types, source.header, scene),
        in_metres=True,
        needs_positions=True,
        stage=Stage.MARKERS,
    ),
    Topic(
        LABEL_INFO,
        'std_msgs/msg/String',
        'JSON: class ids, names, thing or stuff, colours',
        label_json_message,
        latched=True,
    ),
    Topic(
        'panoptic/label_info_vision',
        'vision_msgs/msg/LabelInfo',
        'class ids and names',
        label_info_message,
        latched=True,
    ),
)

OWN_IMAGE_TOPICS = tuple(topic.name for topic in TOPICS if topic.kind == IMAGE)
"""Topics of images that the node itself publishes."""

LATCHED = frozenset(topic.name for topic in TOPICS if topic.latched)


def frame_topics(vision: bool) -> list[Topic]:
    """Return the topics that are published for each frame.

    Args:
        vision: whether vision_msgs is installed.
    """
    return [topic for topic in _available(vision) if not topic.latched]


def label_topics(vision: bool) -> list[Topic]:
    """Return the latched topics, which describe the model's classes.

    Args:
        vision: whether vision_msgs is installed.
    """
    return [topic for topic in _available(vision) if topic.latched]


def topic_types(vision: bool) -> dict[str, str]:
    """Return the message type of every topic, diagnostics included.

    Args:
        vision: whether vision_msgs is installed.
    """
    types = {topic.name: topic.kind for topic in _available(vision)}
    return types | {DIAGNOSTICS: DIAGNOSTICS_TYPE}


def _available(vision: bool) -> list[Topic]:
    return [topic for topic in TOPICS if vision or not topic.kind.startswith('vision_msgs/')]
