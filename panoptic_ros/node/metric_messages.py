# SPDX-License-Identifier: Apache-2.0
"""Builders of messages in metres, without ROS: clouds, 3-D detections and markers."""

from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import CameraImage
from panoptic_ros.node.messages import MessageTypes, point_fields
from panoptic_ros.node.scene import Scene
from panoptic_ros.spatial.lidar import LABEL_FIELDS, label_cloud
from panoptic_ros.spatial.points import POINT, cloud_size, fill_cloud, without_missing

CLOUD_TYPE = 'sensor_msgs/msg/PointCloud2'


class PointsWriter:
    """Message of the organised cloud that is kept, so that points are written without a copy."""

    def __init__(self, types: MessageTypes) -> None:
        self.types = types
        self._message = types.make(
            CLOUD_TYPE, point_step=POINT.itemsize, is_bigendian=False, is_dense=False
        )
        self._message.fields = list(point_fields(types.make, POINT))

    def __call__(self, header: Any, image: CameraImage, scene: Scene) -> Any:
        """Return the cloud of an image, or None if there is no depth for it.

        Args:
            header: of the image.
            image: the image.
            scene: its scene.
        """
        if scene.depth is None:
            return None
        stride = scene.settings['points.stride']
        depth, camera = scene.depth
        cloud = self._rows(header, cloud_size(camera.size, stride))
        fill_cloud(
            cloud,
            depth,
            camera,
            image,
            scene.given_frame.geometry,
            scene.labels,
            stride,
            scene.settings['points.max_range'],
        )
        if not scene.settings['points.dense']:
            return self._message
        dense = without_missing(cloud)
        return cloud_message(
            self.types, header, (1, len(dense)), self._message.fields, dense, is_dense=True
        )

    def _rows(self, header: Any, size: tuple[int, int]) -> npt.NDArray[np.void]:
        """Return the message's rows of POINT, (h, w), to be filled."""
        (height, width), message = size, self._message
        message.header = header
        if (message.height, message.width) != size:
            message.height, message.width = height, width
            message.row_step = width * POINT.itemsize
            message.data = self.types.buffer(height * message.row_step)
        return np.frombuffer(message.data, np.uint8).view(POINT).reshape(size)


def cloud_message(
    types: MessageTypes,
    header: Any,
    size: tuple[int, int],
    fields: Any,
    rows: npt.NDArray[np.void],
    *,
    is_dense: bool,
    is_bigendian: bool = False,
) -> Any:
    """Return a PointCloud2 of rows.

    Args:
        types: makes messages.
        header: of the message.
        size: (height, width).
        fields: its PointFields, which are those of the rows.
        rows: (height * width,) points.
        is_dense: whether all points have a position.
        is_bigendian: byte order of the rows.
    """
    message = types.make(
        CLOUD_TYPE,
        header=header,
        height=size[0],
        width=size[1],
        point_step=rows.dtype.itemsize,
        row_step=rows.dtype.itemsize * size[1],
        is_bigendian=is_bigendian,
        is_dense=is_dense,
        fields=fields,
    )
    if rows.nbytes:
        message.data = types.buffer(rows.nbytes)
        np.frombuffer(message.data, np.uint8)[:] = rows.view(np.uint8)
    return message


class CloudWriter:
    """Maker of labelled lidar clouds; each cloud is labelled once."""

    def __init__(self, types: MessageTypes) -> None:
        self._types = types
        self._last: Any = None

    def __call__(self, scene: Scene) -> Any:
        """Return the cloud that fits an image with the labels of its points.

        Args:
            scene: the image's scene.

        Returns:
            A message with the cloud's own header and fields, and LABEL_FIELDS after them; None
            without a cloud, and if an earlier image has labelled it.
        """
        view = scene.cloud
        if view is None or view.message is self._last:
            return None
        given = self._last = view.message
        rows = label_cloud(view.cloud, view.projection, scene.labels, scene.given_frame)
        labels = np.dtype([(name, f'<{kind}') for name, kind in LABEL_FIELDS.items()])
        fields = list(given.fields)
        fields.extend(
            self._types.make(
                'sensor_msgs/msg/PointField',
                name=field.name,
                offset=given.point_step + field.offset,
                datatype=field.datatype,
                count=1,
            )
            for field in point_fields(self._types.make, labels)
        )
        return cloud_message(
            self._types,
            given.header,
            (given.height, given.width),
            fields,
            rows,
            is_dense=given.is_dense,
            is_bigendian=given.is_bigendian,
        )


def detections_3d_message(types: MessageTypes, header: Any, scene: Scene) -> Any:
    """Return the things with a position as a vision_msgs/Detection3DArray.

    `id` is the track id; the pose is the position in the instance table; the box covers the
    visible surface. None without depth and cloud.
    """
    if scene.positions is None:
        return None
    message = types.make('vision_msgs/msg/Detection3DArray', header=header)
    rows, positions = scene.frame.segments, scene.positions
    for i in located_things(scene):
        row, low, high = rows[i], positions.low[i], positions.high[i]
        detection = types.make(
            'vision_msgs/msg/Detection3D', header=header, id=str(row['track_id'])
        )
        set_point(detection.bbox.center.position, (low + high) / 2)
        set_point(detection.bbox.size, high - low)
        result = types.make('vision_msgs/msg/ObjectHypothesisWithPose')
        result.hypothesis.class_id = str(row['class_id'])
        result.hypothesis.score = float(row['score'])
        set_point(result.pose.pose.position, [row[name] for name in 'xyz'])
        detection.results.append(result)
        message.detections.append(detection)
    return message


def located_things(scene: Scene) -> list[int]:
    """Return the indices of the things that have a position."""
    rows = scene.frame.segments
    return np.flatnonzero((rows['is_thing'] == 1) & np.isfinite(rows['z'])).tolist()


def set_point(point: Any, values: Any) -> None:
    """Set x, y, z of a Point or Vector3."""
    point.x, point.y, point.z = map(float, values)
