# SPDX-License-Identifier: Apache-2.0
"""Frames to messages; each carries the header of the image it came from.

Who publishes (the node) and who writes bags (replay) make messages of different classes out of
the same fields, so the bytes on a topic are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import DATATYPES, PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.overlay import draw_overlay

LABEL_INFO = 'panoptic/label_info'
LABEL_INFO_VISION = 'panoptic/label_info_vision'

_POINT_TYPES = {np.dtype(f'<{kind}'): number for number, kind in DATATYPES.items()}


class MessageTypes(Protocol):
    """Makes messages: rclpy's, or those of rosbags."""

    vision: bool
    """Whether there is vision_msgs."""

    def make(self, kind: str, **fields: Any) -> Any:
        """A message of a type like `sensor_msgs/msg/Image`; other fields have their default."""

    def byte(self, value: int) -> Any:
        """The value of a field of type byte."""

    def buffer(self, size: int) -> Any:
        """So many zero bytes, to be written through np.frombuffer; the value of a uint8[]."""


def frame_topics(vision: bool) -> Mapping[str, str]:
    """Message type of each topic that is published for a frame.

    Args:
        vision: whether there is vision_msgs.
    """
    return {
        'panoptic/segments': 'sensor_msgs/msg/Image',
        'panoptic/semantic': 'sensor_msgs/msg/Image',
        'panoptic/instances': 'sensor_msgs/msg/PointCloud2',
        'panoptic/overlay': 'sensor_msgs/msg/Image',
        **({'panoptic/detections': 'vision_msgs/msg/Detection2DArray'} if vision else {}),
    }


OWN_IMAGE_TOPICS = tuple(
    topic for topic, kind in frame_topics(vision=False).items() if kind == 'sensor_msgs/msg/Image'
)
"""Topics of images that the node itself publishes."""


def label_topics(vision: bool) -> Mapping[str, str]:
    """Message type of each latched topic that says what the class ids mean.

    Args:
        vision: whether there is vision_msgs.
    """
    return {
        LABEL_INFO: 'std_msgs/msg/String',
        **({LABEL_INFO_VISION: 'vision_msgs/msg/LabelInfo'} if vision else {}),
    }


class FrameMessages:
    """The messages of one camera; image messages are kept and filled again for each frame.

    Publishing and writing serialise at once, so a message is free again after it.
    """

    def __init__(self, types: MessageTypes) -> None:
        self._types = types
        self._segments = ImageWriter(types, 'mono16', 'u2')
        self._semantic = ImageWriter(types, 'mono8', 'u1')
        self._overlay = ImageWriter(types, 'rgb8', 'u1', 3)

    def make(
        self,
        topic: str,
        header: Any,
        image: CameraImage,
        frame: PanopticFrame,
        labels: LabelSet,
        scale: str,
    ) -> Any:
        """What a topic of `frame_topics` says of a frame.

        Args:
            topic: its name.
            header: of the camera's image.
            image: the camera's.
            frame: what was seen in it.
            labels: what the class ids mean.
            scale: `camera` or `network`, resolution of segments and semantic.
        """
        match topic:
            case 'panoptic/segments':
                return _map(self._segments, header, frame, frame.segment_map, scale)
            case 'panoptic/semantic':
                return _map(self._semantic, header, frame, frame.semantic_map, scale)
            case 'panoptic/instances':
                return instances_message(self._types, header, frame)
            case 'panoptic/detections':
                return detections_message(self._types, header, frame)
            case 'panoptic/overlay':
                out = self._overlay.pixels(header, frame.geometry.image_size)
                draw_overlay(image, frame, labels, out)
                return self._overlay.message
        raise ValueError(f'no topic {topic!r}')


def _map(
    writer: ImageWriter, header: Any, frame: PanopticFrame, cell_map: npt.NDArray[Any], scale: str
) -> Any:
    if scale == 'camera':
        frame.geometry.to_camera(cell_map, writer.pixels(header, frame.geometry.image_size))
    else:
        writer.pixels(header, frame.geometry.map_size)[:] = cell_map
    return writer.message


class ImageWriter:
    """One topic's Image message, kept so that pixels are written into it without a copy."""

    def __init__(
        self, types: MessageTypes, encoding: str, dtype: npt.DTypeLike, channels: int = 1
    ) -> None:
        self.message = types.make(
            'sensor_msgs/msg/Image', encoding=encoding, is_bigendian=int(np.little_endian is False)
        )
        self._types = types
        self._dtype = np.dtype(dtype)
        self._channels = channels

    def pixels(self, header: Any, size: tuple[int, int]) -> npt.NDArray[Any]:
        """Sets the message up for a picture.

        Args:
            header: of the camera's image.
            size: (height, width).

        Returns:
            (H, W) or (H, W, channels) view on the message's data, to be filled.
        """
        height, width = size
        message = self.message
        message.header = header
        row_bytes = width * self._channels * self._dtype.itemsize
        if (message.height, message.step) != (height, row_bytes):
            message.height, message.width, message.step = height, width, row_bytes
            message.data = self._types.buffer(height * row_bytes)
        shape = (height, width) if self._channels == 1 else (height, width, self._channels)
        return np.frombuffer(message.data, self._dtype).reshape(shape)


def instances_message(types: MessageTypes, header: Any, frame: PanopticFrame) -> Any:
    """The instance table as PointCloud2, byte for byte; one point per segment."""
    rows = frame.segments
    dtype = rows.dtype
    message = types.make(
        'sensor_msgs/msg/PointCloud2',
        header=header,
        height=1,
        width=len(rows),
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * len(rows),
        is_bigendian=False,
        is_dense=False,
    )  # x, y, z may be NaN
    for name in dtype.names or ():
        field, offset = dtype.fields[name][:2]  # type: ignore[index]
        message.fields.append(
            types.make(
                'sensor_msgs/msg/PointField',
                name=name,
                offset=offset,
                datatype=_POINT_TYPES[field.base],
                count=int(np.prod(field.shape, dtype=int)),
            )
        )
    if len(rows):
        message.data = types.buffer(rows.nbytes)
        np.frombuffer(message.data, np.uint8)[:] = np.frombuffer(rows.tobytes(), np.uint8)
    return message


def detections_message(types: MessageTypes, header: Any, frame: PanopticFrame) -> Any:
    """The things as a vision_msgs/Detection2DArray; `id` is the track id."""
    message = types.make('vision_msgs/msg/Detection2DArray', header=header)
    for row in frame.segments[frame.segments['is_thing'] == 1]:
        detection = types.make(
            'vision_msgs/msg/Detection2D', header=header, id=str(row['track_id'])
        )
        detection.bbox.center.position.x = float(row['bbox_x'] + row['bbox_w'] / 2)
        detection.bbox.center.position.y = float(row['bbox_y'] + row['bbox_h'] / 2)
        detection.bbox.size_x = float(row['bbox_w'])
        detection.bbox.size_y = float(row['bbox_h'])
        result = types.make('vision_msgs/msg/ObjectHypothesisWithPose')
        result.hypothesis.class_id = str(row['class_id'])  # label_info has its name
        result.hypothesis.score = float(row['score'])
        detection.results.append(result)
        message.detections.append(detection)
    return message


def label_message(
    types: MessageTypes, topic: str, labels: LabelSet, score_threshold: float, stamp: Any
) -> Any:
    """What a topic of `label_topics` says.

    Args:
        types: makes messages.
        topic: its name.
        labels: what the class ids mean.
        score_threshold: segments with a lower score are left out.
        stamp: time of the message, for the one that has a header.
    """
    if topic == LABEL_INFO:
        return types.make(
            'std_msgs/msg/String',
            data=json.dumps({'labels': labels.to_dicts(), 'score_threshold': score_threshold}),
        )
    return types.make(  # which has names only
        'vision_msgs/msg/LabelInfo',
        header=types.make('std_msgs/msg/Header', stamp=stamp),
        threshold=score_threshold,
        class_map=[
            types.make('vision_msgs/msg/VisionClass', class_id=i, class_name=name)
            for i, name in enumerate(labels.names)
        ],
    )
