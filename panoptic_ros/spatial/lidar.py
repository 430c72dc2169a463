# SPDX-License-Identifier: Apache-2.0
"""Labels of a lidar's points, which are projected into the camera's image."""

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame, read_instances
from panoptic_ros.core.text import one_line
from panoptic_ros.spatial.camera_model import CameraModel
from panoptic_ros.spatial.points import CellLabels

LABEL_FIELDS = {'class_id': 'u4', 'track_id': 'u4', 'confidence': 'f4'}
"""Fields that are appended to each point, and their types."""


class LidarCloud(NamedTuple):
    """Points of a PointCloud2."""

    rows: npt.NDArray[np.void]
    """(N,) structured array with the message's fields and byte order."""

    xyz: npt.NDArray[np.float64]
    """(3, N) in the cloud's own frame, m."""


class Projection(NamedTuple):
    """Points that are seen in the image, M of N."""

    seen: npt.NDArray[np.intp]
    """(M,) their indices in the cloud."""

    rows: npt.NDArray[np.intp]
    """(M,) rows of the image."""

    cols: npt.NDArray[np.intp]

    points: npt.NDArray[np.float32]
    """(3, M) in the camera's optical frame, m."""


def read_cloud(message: Any) -> LidarCloud:
    """Read a sensor_msgs/PointCloud2.

    Raises:
        ValueError: if it has no x, y, z of a float type, has one of LABEL_FIELDS already, or its
            sizes contradict each other.
    """
    rows = read_instances(message)
    names = rows.dtype.names or ()
    missing = [name for name in 'xyz' if name not in names or rows.dtype[name].kind != 'f']
    if missing:
        raise ValueError(
            f'a cloud must have the fields x, y, z of a float type, got '
            f'{one_line(", ".join(names), 100)}'
        )
    if taken := [name for name in LABEL_FIELDS if name in names]:
        raise ValueError(
            f'the cloud already has a field {taken[0]}; remap `cloud` to the cloud of the lidar'
        )
    with np.errstate(all='ignore'):  # any bits may be there
        return LidarCloud(rows, np.stack([rows[name].astype(float) for name in 'xyz']))


def project_cloud(
    cloud: LidarCloud, camera: CameraModel, transform: npt.NDArray[np.float64]
) -> Projection:
    """Project a cloud into the image.

    Args:
        cloud: the points.
        camera: the camera.
        transform: (4, 4) from the cloud's frame to the camera's optical frame.
    """
    with np.errstate(all='ignore'):
        points = transform[:3, :3] @ cloud.xyz + transform[:3, 3:]
        pixels = camera.project(points)
        index = np.flatnonzero(~np.isnan(pixels[0]))
        seen = points[:, index].astype(np.float32)
    cols, rows = np.rint(pixels[:, index]).astype(np.intp)
    return Projection(
        index, np.clip(rows, 0, camera.size[0] - 1), np.clip(cols, 0, camera.size[1] - 1), seen
    )


def label_cloud(
    cloud: LidarCloud, projection: Projection, labels: CellLabels, frame: PanopticFrame
) -> npt.NDArray[np.void]:
    """Return the cloud's rows with the LABEL_FIELDS.

    Args:
        cloud: (N,) points.
        projection: the points that are seen.
        labels: labels of the frame's cells.
        frame: the frame.

    Returns:
        (N,) rows with all fields of the message, and LABEL_FIELDS after them in the same byte
        order. Points that the camera does not see have the class of void, track 0, confidence 0.
    """
    old = cloud.rows.dtype
    order = '>' if old['x'].byteorder == '>' else '<'
    offsets = [old.fields[name][1] for name in old.names or ()]  # type: ignore[index]
    names, formats = list(old.names or ()), [old[name] for name in old.names or ()]
    size = old.itemsize
    for name, kind in LABEL_FIELDS.items():
        names.append(name)
        formats.append(np.dtype(order + kind))
        offsets.append(size)
        size += formats[-1].itemsize
    dtype = np.dtype({'names': names, 'formats': formats, 'offsets': offsets, 'itemsize': size})
    data = np.empty((len(cloud.rows), size), np.uint8)
    data[:, : old.itemsize] = cloud.rows.view(np.uint8).reshape(len(cloud.rows), old.itemsize)
    labelled = data.reshape(-1).view(dtype)
    void = {'class_id': frame.void_id, 'track_id': 0, 'confidence': 0}
    cells = frame.geometry.cells_of(projection.rows, projection.cols)
    for name, cell_map in labels._asdict().items():
        labelled[name] = void[name]
        labelled[name][projection.seen] = cell_map.reshape(-1).take(cells)
    return labelled


def parse_extrinsic(text: str) -> npt.NDArray[np.float64]:
    """Return the transform (4, 4) of `x y z qx qy qz qw`: metres and a rotation quaternion.

    The numbers are those of a TF transform: the pose of the child frame (the cloud's) in the
    parent frame (the camera's optical frame).

    Example:
        >>> parse_extrinsic('0.1 0 0  0 0 0 1')[0].tolist()
        [1.0, 0.0, 0.0, 0.1]

    Raises:
        ValueError: if these are not seven numbers, or the quaternion is 0.
    """
    try:
        numbers = [float(word) for word in re.split(r'[,\s]+', text.strip())]
    except ValueError:
        numbers = []
    if len(numbers) != 7 or not np.isfinite(numbers).all() or not any(numbers[3:]):
        raise ValueError(
            'cloud.extrinsic must be seven numbers, x y z (metres) and qx qy qz qw, '
            f'got {one_line(repr(text), 80)}'
        )
    return transform_matrix(numbers[:3], numbers[3:])


def transform_matrix(translation: list[float], quaternion: list[float]) -> npt.NDArray[np.float64]:
    """Return the matrix (4, 4) of a translation x, y, z and a quaternion x, y, z, w."""
    x, y, z, w = np.array(quaternion) / np.linalg.norm(quaternion)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix
