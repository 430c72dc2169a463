# SPDX-License-Identifier: Apache-2.0
"""Organised cloud of coloured and labelled points, from a depth image and a frame."""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry, PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.spatial.camera_model import CameraModel
from panoptic_ros.spatial.depth import DepthImage

POINT = np.dtype(
    [
        *((name, '<f4') for name in ('x', 'y', 'z')),
        ('rgb', '<f4'),
        ('class_id', '<u4'),
        ('track_id', '<u4'),
        ('confidence', '<f4'),
    ]
)
"""Row of the cloud. x, y, z in metres in the camera's optical frame; the bits of rgb are
0x00RRGGBB, as PCL has it; confidence is 0 to 1."""


class CellLabels(NamedTuple):
    """Labels of the cells of a frame's map, (h, w) each."""

    class_id: npt.NDArray[np.uint32]
    """`PanopticFrame.void_id` for void."""

    track_id: npt.NDArray[np.uint32]
    """0 for stuff, void and untracked things."""

    confidence: npt.NDArray[np.float32]
    """0 to 1."""


def label_cells(frame: PanopticFrame) -> CellLabels:
    """Return the labels of a frame's cells; without a confidence map, the scores of segments."""
    rows, confidence_map = frame.segments, frame.confidence_map
    return CellLabels(
        frame.paint(rows['class_id'], frame.void_id),
        frame.paint(rows['track_id'], 0),
        frame.paint(rows['score'], 0)
        if confidence_map is None
        else confidence_map.astype(np.float32) / np.float32(255),
    )


def cloud_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return (height, width) of the cloud of an image of `size`, px."""
    return math.ceil(size[0] / stride), math.ceil(size[1] / stride)


def depth_points(depth: DepthImage, camera: CameraModel, index: Any) -> npt.NDArray[np.float32]:
    """Return the points of pixels in the camera's optical frame, (3, ...), m.

    Args:
        depth: depth of the camera image's size.
        camera: the camera.
        index: index of an (H, W) array: slices, or arrays of rows and columns.

    Returns:
        x, y, z; NaN where there is no depth.
    """
    z = depth.metres(index)
    points = np.empty((3, *z.shape), np.float32)
    for axis in (0, 1):
        np.multiply(camera.rays[axis][index], z, out=points[axis])
        if camera.origin[axis]:
            points[axis] += np.float32(camera.origin[axis])
    points[2] = z
    points[2][np.isnan(points[0])] = np.nan  # the lens shows nothing there
    return points


def fill_cloud(
    out: npt.NDArray[np.void],
    depth: DepthImage,
    camera: CameraModel,
    image: CameraImage,
    geometry: Geometry,
    labels: CellLabels,
    stride: int,
    max_range_m: float,
) -> None:
    """Write the cloud of an image into an array.

    Args:
        out: (h, w) rows of `POINT`, of `cloud_size`, C-contiguous.
        depth: depth of the camera image's size.
        camera: the camera.
        image: the camera's image.
        geometry: geometry of its frame.
        labels: labels of the frame's cells.
        stride: distance of the points in the image, px; with 1 every pixel has a point.
        max_range_m: points with a greater z become NaN; 0: no limit.
    """
    points = depth_points(depth, camera, np.s_[::stride, ::stride])
    if max_range_m:
        with np.errstate(invalid='ignore'):
            points[:, points[2] > max_range_m] = np.nan
    height, width = camera.size
    cells = geometry.cells_of(np.arange(0, height, stride)[:, None], np.arange(0, width, stride))
    columns = [*points, _packed_rgb(image, stride)]
    columns += [cell_map.reshape(-1).take(cells) for cell_map in labels]
    # merge() copies bits, and writes rows of seven numbers ten times as fast as NumPy.
    cv2.merge([column.view(np.float32) for column in columns], _as_floats(out))


def _as_floats(cloud: npt.NDArray[np.void]) -> npt.NDArray[np.float32]:
    """Return rows of POINT (h, w) as numbers (h, w, 7)."""
    return cloud.view(np.float32).reshape(*cloud.shape, len(POINT.names or ()))


def _packed_rgb(image: CameraImage, stride: int) -> npt.NDArray[np.uint32]:
    """Return the colours (h, w) of every `stride`-th pixel as 0x00RRGGBB."""
    pixels = np.ascontiguousarray(image.pixels[::stride, ::stride])
    if image.order == 'mono':
        return pixels * np.uint32(0x010101)
    # Little-endian: blue is the first byte. The alpha channel that is added is 255.
    code = cv2.COLOR_RGB2BGRA if image.order == 'rgb' else cv2.COLOR_BGR2BGRA
    return cv2.cvtColor(pixels, code).view(np.uint32)[..., 0] & np.uint32(0xFFFFFF)


def without_missing(cloud: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return the points (N,) of a cloud (h, w) that have a position."""
    flat = cloud.reshape(-1)
    return flat[~np.isnan(flat['x'])]
