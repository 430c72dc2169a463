"""Frames to messages; each carries the header of the image it came from."""

from __future__ import annotations

import array
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header, String

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import LabelSet

try:
    from vision_msgs import msg as vision_msgs
except ImportError:
    vision_msgs = None

DETECTIONS_TYPE: Any = vision_msgs and vision_msgs.Detection2DArray
"""None where vision_msgs is not installed."""

LABEL_INFO_TYPE: Any = vision_msgs.LabelInfo if vision_msgs else String

_POINT_TYPES = {'<f4': PointField.FLOAT32, '<u4': PointField.UINT32, '|u1': PointField.UINT8}


class ImageWriter:
    """One topic's Image message, kept so that pixels are written into it without a copy.

    Publishing serialises at once, so the message is free again after it.
    """

    def __init__(self, encoding: str, dtype: npt.DTypeLike, channels: int = 1) -> None:
        self.message = Image(encoding=encoding, is_bigendian=int(np.little_endian is False))
        self._dtype = np.dtype(dtype)
        self._channels = channels

    def pixels(self, header: Header, size: tuple[int, int]) -> npt.NDArray[Any]:
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
            # Anything but array.array is checked element by element, for 6 MB half a second.
            message.data = array.array('B', bytes(height * row_bytes))
        shape = (height, width) if self._channels == 1 else (height, width, self._channels)
        return np.frombuffer(message.data, self._dtype).reshape(shape)


def instances_message(header: Header, frame: PanopticFrame) -> PointCloud2:
    """The instance table, byte for byte; one point per segment."""
    rows = frame.segments
    dtype = rows.dtype
    message = PointCloud2(header=header, height=1, width=len(rows), point_step=dtype.itemsize,
                          row_step=dtype.itemsize * len(rows), is_bigendian=False,
                          is_dense=False)  # x, y, z may be NaN
    for name in dtype.names or ():
        field, offset = dtype.fields[name][:2]  # type: ignore[index]
        message.fields.append(PointField(
            name=name, offset=offset, datatype=_POINT_TYPES[field.base.str],
            count=int(np.prod(field.shape, dtype=int))))
    message.data.frombytes(rows.tobytes())
    return message


def detections_message(header: Header, frame: PanopticFrame) -> Any:
    """The things as a vision_msgs/Detection2DArray; `id` is the track id."""
    message = vision_msgs.Detection2DArray(header=header)
    for row in frame.segments[frame.segments['is_thing'] == 1]:
        detection = vision_msgs.Detection2D(header=header, id=str(row['track_id']))
        detection.bbox.center.position.x = float(row['bbox_x'] + row['bbox_w'] / 2)
        detection.bbox.center.position.y = float(row['bbox_y'] + row['bbox_h'] / 2)
        detection.bbox.size_x = float(row['bbox_w'])
        detection.bbox.size_y = float(row['bbox_h'])
        result = vision_msgs.ObjectHypothesisWithPose()
        result.hypothesis.class_id = str(row['class_id'])  # label_info has its name
        result.hypothesis.score = float(row['score'])
        detection.results.append(result)
        message.detections.append(detection)
    return message


def label_info_message(labels: LabelSet, score_threshold: float, stamp: Any) -> Any:
    """What the class ids mean.

    A vision_msgs/LabelInfo, which has names only; else a String with LabelSet.to_dicts as JSON.
    """
    if vision_msgs is None:
        return String(data=json.dumps({'labels': labels.to_dicts(),
                                       'score_threshold': score_threshold}))
    return vision_msgs.LabelInfo(
        header=Header(stamp=stamp), threshold=score_threshold,
        class_map=[vision_msgs.VisionClass(class_id=i, class_name=name)
                   for i, name in enumerate(labels.names)])
