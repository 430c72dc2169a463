# SPDX-License-Identifier: Apache-2.0
"""What is known in metres about one image; each part is computed when it is first needed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.side_input import CalibrationInput, Mismatch, RefusedError, SideInput
from panoptic_ros.spatial.camera_model import CameraModel
from panoptic_ros.spatial.depth import DepthImage, read_depth
from panoptic_ros.spatial.lidar import (
    LidarCloud,
    Projection,
    parse_extrinsic,
    project_cloud,
    read_cloud,
)
from panoptic_ros.spatial.points import CellLabels, depth_points, label_cells
from panoptic_ros.spatial.positions import Positions, inner_ids, measure, sample_segments
from panoptic_ros.tracking import View
from panoptic_ros.tracking.motion import Velocities

Transform = Callable[[str, str, Any], npt.NDArray[np.float64]]
"""Returns the transform (4, 4) to a frame from another frame at a stamp; raises ValueError."""

SOME_PIXELS = np.s_[::8, ::8]
"""Pixels at which a depth image is first checked for any depth."""


class DepthView(NamedTuple):
    """Depth of an image's pixels, and the camera's model."""

    depth: DepthImage
    camera: CameraModel


class CloudView(NamedTuple):
    """Cloud of a lidar, and its points in the image."""

    message: Any
    cloud: LidarCloud
    projection: Projection


class Metres:
    """Inputs of one camera beside its images, and what lasts from image to image."""

    def __init__(
        self, warn: Callable[[str, str], None], transform: Transform | None = None
    ) -> None:
        """Begin without inputs.

        Args:
            warn: logs a warning of a kind once.
            transform: looks up transforms; None if there is no TF.
        """
        self.calibration = CalibrationInput()
        self.depth = SideInput('depth', warn)
        self.cloud = SideInput('cloud', warn)
        self.velocities = Velocities()
        self.transform = transform
        self._warn = warn

    def view(self, header: Any, settings: Mapping[str, Any], size: tuple[int, int]) -> View | None:
        """Return the pose of the camera in `tracker.odom_frame` at an image.

        Args:
            header: of the image.
            settings: the parameters' values.
            size: of the image, (height, width).

        Returns:
            None without that frame, while no depth and no cloud has been received, and, with a
            warning, without calibration or transform.
        """
        odom = settings['tracker.odom_frame']
        if not odom or not (self.depth.is_received or self.cloud.is_received):
            return None
        try:
            camera = self.calibration.model(size)
            pose = self.transform_to(odom, header.frame_id, header.stamp)
        except ValueError as error:
            self._warn('odometry', f'tracks are matched without tracker.odom_frame: {error}')
            return None
        return View(pose, partial(camera.project, beyond=True))

    def transform_to(self, target: str, source: str, stamp: Any) -> npt.NDArray[np.float64]:
        """Return the transform (4, 4) from frame `source` to frame `target` at a stamp.

        Raises:
            ValueError: if it is not known.
        """
        if self.transform is None:
            raise ValueError('tf2_ros is not installed; install it')
        return self.transform(target, source, stamp)

    def scene(
        self, header: Any, frame: PanopticFrame, settings: Mapping[str, Any]
    ) -> 'Scene | None':
        """Return the scene of an image; None while no depth and no cloud has been received.

        Args:
            header: of the image.
            frame: its tracked frame.
            settings: the parameters' values.
        """
        if not (self.depth.is_received or self.cloud.is_received):
            return None
        return Scene(self, header, frame, settings)


class Scene:
    """One image in metres; all points are in the camera's optical frame."""

    def __init__(
        self, metres: Metres, header: Any, frame: PanopticFrame, settings: Mapping[str, Any]
    ) -> None:
        """See `Metres.scene`."""
        self.header, self.settings = header, settings
        self._metres, self.given_frame = metres, frame
        self._size = frame.geometry.image_size

    @cached_property
    def depth(self) -> DepthView | None:
        """Depth of the image; None without one that fits."""
        if not self._metres.depth.is_received:
            return None
        return self._metres.depth.use(
            header_stamp_ns(self), self.settings['depth.max_offset_ms'], self._read_depth
        )

    def _read_depth(self, message: Any) -> DepthView:
        camera = self._metres.calibration.model(self._size)
        try:
            depth = read_depth(message, self.settings['max_image_pixels'])
        except ValueError as error:
            raise RefusedError(Mismatch.UNREADABLE, error) from None
        try:
            depth = depth.fitted(self._size)
        except ValueError as error:
            raise RefusedError(Mismatch.SIZE, error) from None
        # Few pixels say it for almost every image; of sparse depth all have to be read.
        if not any(np.isfinite(depth.metres(at)).any() for at in (SOME_PIXELS, np.s_[:, :])):
            raise RefusedError(Mismatch.EMPTY, 'the depth image holds no depth, only 0 or NaN')
        return DepthView(depth, camera)

    @cached_property
    def cloud(self) -> CloudView | None:
        """Cloud of the lidar; None without one that fits."""
        if not self._metres.cloud.is_received:
            return None
        return self._metres.cloud.use(
            header_stamp_ns(self),
            self.settings['cloud.max_offset_ms'],
            self._read_cloud,
            newest=True,
        )

    def _read_cloud(self, message: Any) -> CloudView:
        camera = self._metres.calibration.model(self._size)
        try:
            cloud = read_cloud(message)
        except ValueError as error:
            raise RefusedError(Mismatch.UNREADABLE, error) from None
        try:
            transform = self._transform(message.header)
        except ValueError as error:
            raise RefusedError(Mismatch.TRANSFORM, error) from None
        projection = project_cloud(cloud, camera, transform)
        self._metres.cloud.note_points(len(projection.seen))
        return CloudView(message, cloud, projection)

    def _transform(self, header: Any) -> npt.NDArray[np.float64]:
        """Return the transform from a cloud's frame to the camera's.

        Raises:
            ValueError: if it is not known.
        """
        if self.settings['cloud.extrinsic']:
            return _extrinsic(self.settings['cloud.extrinsic'])
        try:
            return self._metres.transform_to(self.header.frame_id, header.frame_id, header.stamp)
        except ValueError as error:
            raise ValueError(f'{error}, or set cloud.extrinsic') from None

    @cached_property
    def positions(self) -> Positions | None:
        """Positions of the segments, from depth or else from the cloud; None without both."""
        if self.depth is not None:
            samples = sample_segments(self.given_frame)
            points = depth_points(self.depth.depth, self.depth.camera, samples.index)
            found, used = measure(samples.ids, points, self.given_frame), self._metres.depth
        elif self.cloud is not None:
            seen = self.cloud.projection
            ids = inner_ids(self.given_frame, seen.rows, seen.cols)
            found = measure(ids, seen.points, self.given_frame)
            used = self._metres.cloud
        else:
            return None
        used.missing = found.missing
        return found

    def locate(self) -> None:
        """Find the positions now."""
        _ = self.frame

    @cached_property
    def frame(self) -> PanopticFrame:
        """The frame, with the positions of its segments."""
        if self.positions is None:
            return self.given_frame
        rows = self.given_frame.segments.copy()
        for axis, name in enumerate('xyz'):
            rows[name] = self.positions.median[:, axis]
        return replace(self.given_frame, segments=rows)

    @cached_property
    def velocity(self) -> npt.NDArray[np.float64]:
        """(S, 3) velocity of each segment relative to the camera, m/s; see `Velocities.update`."""
        return self._metres.velocities.update(self.frame)

    @cached_property
    def labels(self) -> CellLabels:
        """Labels of the frame's cells."""
        return label_cells(self.given_frame)


@lru_cache(maxsize=16)
def _extrinsic(text: str) -> npt.NDArray[np.float64]:
    return parse_extrinsic(text)
