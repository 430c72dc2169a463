# SPDX-License-Identifier: Apache-2.0
"""Builders of ROS messages without ROS.

The node publishes classes of rclpy and replay writes those of rosbags. Both are made from the
same fields, so that the bytes on a topic are the same.
"""

import json
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import DATATYPES, PanopticFrame
from panoptic_ros.core.labels import LabelSet

PIXELS: dict[str, np.dtype[Any]] = {
    'mono8': np.dtype(np.uint8),
    'mono16': np.dtype(np.uint16),
    'rgb8': np.dtype((np.uint8, (3,))),
}
"""Type of one pixel by encoding."""

_POINT_TYPES = {np.dtype(f'<{kind}'): number for number, kind in DATATYPES.items()}


class MessageTypes(Protocol):
    """Maker of messages of one library, rclpy or rosbags."""

    vision: bool
    """Whether vision_msgs is installed."""

    def make(self, kind: str, **fields: Any) -> Any:
        """Return a message of a type like `sensor_msgs/msg/Image`; other fields are defaults."""

    def byte(self, value: int) -> Any:
        """Return the value of a field of type byte."""

    def buffer(self, size: int) -> Any:
        """Return the value of a uint8[]: `size` zero bytes, writable through np.frombuffer."""


class ImageWriter:
    """Image message that is kept, so that pixels are written into it without a copy.

    Publishing and writing to a bag serialise at once, so that the message is then free again.
    """

    def __init__(self, types: MessageTypes) -> None:
        self.types = types
        self.message = types.make(
            'sensor_msgs/msg/Image', is_bigendian=int(np.little_endian is False)
        )

    def pixels(self, encoding: str, header: Any, size: tuple[int, int]) -> npt.NDArray[Any]:
        """Prepare the message for an image.

        Args:
            encoding: one of `PIXELS`.
            header: header of the camera's image.
            size: (height, width).

        Returns:
            (H, W) or (H, W, channels) view of the message's data, to be filled.
        """
        (height, width), pixel, message = size, PIXELS[encoding], self.message
        message.header, message.encoding = header, encoding
        if (message.height, message.step) != (height, width * pixel.itemsize):
            message.height, message.width, message.step = height, width, width * pixel.itemsize
            message.data = self.types.buffer(height * message.step)
        return np.frombuffer(message.data, pixel.base).reshape(height, width, *pixel.shape)


def instances_message(types: MessageTypes, header: Any, frame: PanopticFrame) -> Any:
    """Return the instance table as a PointCloud2, byte for byte, with one point per segment."""
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
        fields=list(point_fields(types.make, dtype)),
    )  # x, y, z may be NaN
    if len(rows):
        message.data = types.buffer(rows.nbytes)
        np.frombuffer(message.data, np.uint8)[:] = np.frombuffer(rows.tobytes(), np.uint8)
    return message


@lru_cache(maxsize=16)
def point_fields(make: Callable[..., Any], dtype: np.dtype[np.void]) -> tuple[Any, ...]:
    """Return a sensor_msgs/PointField for each field of a row.

    Making them takes most of the time of a PointCloud2, and they are the same for all frames.
    """
    return tuple(
        make(
            'sensor_msgs/msg/PointField',
            name=name,
            offset=offset,
            datatype=_POINT_TYPES[field.base],
            count=math.prod(field.shape),
        )
        for name, (field, offset, *_) in (dtype.fields or {}).items()
    )


def detections_message(types: MessageTypes, header: Any, frame: PanopticFrame) -> Any:
    """Return the things as a vision_msgs/Detection2DArray whose `id` is the track id."""
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


def label_json_message(
    types: MessageTypes, labels: LabelSet, score_threshold: float, stamp: Any
) -> Any:
    """Return the model's classes as JSON in a std_msgs/String, with the colours of the overlay.

    Args:
        types: makes messages.
        labels: the model's classes.
        score_threshold: segments with a lower score are left out.
        stamp: unused, as the message has no header.
    """
    values = {
        'labels': [
            {'class_id': published_id, **label.to_dict()}
            for published_id, label in labels.published.items()
        ],
        'score_threshold': score_threshold,
    }
    return types.make('std_msgs/msg/String', data=json.dumps(values))


def label_info_message(
    types: MessageTypes, labels: LabelSet, score_threshold: float, stamp: Any
) -> Any:
    """Return the names of the model's classes as a vision_msgs/LabelInfo.

    Args:
        types: makes messages.
        labels: the model's classes.
        score_threshold: segments with a lower score are left out.
        stamp: time of the message.
    """
    return types.make(
        'vision_msgs/msg/LabelInfo',
        header=types.make('std_msgs/msg/Header', stamp=stamp),
        threshold=score_threshold,
        class_map=[
            types.make('vision_msgs/msg/VisionClass', class_id=published_id, class_name=label.name)
            for published_id, label in labels.published.items()
        ],
    )
