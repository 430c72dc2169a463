# SPDX-License-Identifier: Apache-2.0
"""Inputs beside the images: depth, a lidar's clouds and the calibration.

They never delay an image: what has been received when the results of an image are published is
used, and without it the results have no metres.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from panoptic_ros.core.text import one_line
from panoptic_ros.node.diagnostics import Level, Status
from panoptic_ros.node.meters import RateMeter, show
from panoptic_ros.spatial.camera_model import Calibration, CameraModel, read_camera_info
from panoptic_ros.spatial.recent import Recent

T = TypeVar('T')


class Mismatch(Enum):
    """Reason why an input gives no metres for an image."""

    OFFSET = 'none near the stamp'
    NO_INFO = 'no camera_info'
    BAD_INFO = 'bad camera_info'
    UNREADABLE = 'unreadable'
    SIZE = 'not registered'
    EMPTY = 'no valid pixel'
    TRANSFORM = 'no transform'


_COMMON = (Mismatch.OFFSET, Mismatch.NO_INFO, Mismatch.BAD_INFO, Mismatch.UNREADABLE)

REASONS = {
    'depth': (*_COMMON, Mismatch.SIZE, Mismatch.EMPTY),
    'cloud': (*_COMMON, Mismatch.TRANSFORM),
}
"""Reasons by name of the input."""

OUTSIDE = 'no point of the cloud is in the image; check the transform between lidar and camera'


class RefusedError(ValueError):
    """Error of an input that cannot be used for an image."""

    def __init__(self, reason: Mismatch, text: object) -> None:
        super().__init__(one_line(text))
        self.reason = reason


class SideInput:
    """Messages of one topic beside the images, and counts of the images that they fit."""

    def __init__(self, name: str, warn: Callable[[str, str], None]) -> None:
        """Begin without messages.

        Args:
            name: one of REASONS.
            warn: logs a warning of a kind once.
        """
        self.name = name
        self.arrivals = RateMeter()
        self.newest_stamp_s: float | None = None
        self.used = 0
        """Number of images for which a message was used."""
        self.mismatches: Counter[Mismatch] = Counter()
        """Number of images for which none was used, by reason."""
        self.offset_ms: float | None = None
        """Stamp of the last message that was used, relative to its image's."""
        self.problem = ''
        """Why the last image had no message; empty if it had one."""
        self.missing: Mapping[str, int] = {}
        """Number of segments without a position by reason, of the last image that it was used for
        to find positions."""
        self.points_in_image: int | None = None
        """Number of points of the last cloud that was used; None for depth and before."""
        self._recent = Recent[Any]()
        self._warn = warn

    @property
    def is_received(self) -> bool:
        """Whether a message has been received."""
        return self.newest_stamp_s is not None

    def receive(self, message: Any, stamp_ns: int, now_s: float) -> None:
        """Add a message; called by the executor."""
        self._recent.add(stamp_ns, message, len(message.data))
        self.newest_stamp_s = stamp_ns * 1e-9
        self.arrivals.add(now_s)

    def use(
        self, stamp_ns: int, max_offset_ms: float, read: Callable[[Any], T], newest: bool = False
    ) -> T | None:
        """Return the content of the message that fits an image; count the image.

        Args:
            stamp_ns: stamp of the image.
            max_offset_ms: largest distance of the message's stamp.
            read: reads a message; raises RefusedError if it cannot be used for the image.
            newest: take the newest message within the offset, and not the nearest.

        Returns:
            None if there is none, or it cannot be used.
        """
        find = self._recent.newest if newest else self._recent.nearest
        found = find(stamp_ns, round(max_offset_ms * 1e6))
        try:
            if found is None:
                raise RefusedError(
                    Mismatch.OFFSET,
                    f'no {self.name} has a stamp within {max_offset_ms:.0f} ms of the image; '
                    f'compare the stamps of both topics, or raise {self.name}.max_offset_ms',
                )
            message, offset_ns = found
            content = read(message)
        except RefusedError as error:
            self.mismatches[error.reason] += 1
            self.problem = str(error)
            self._warn(
                f'{self.name}: {error.reason.value}',
                f'{self.name} is not used: {error}; images are published without metres',
            )
            return None
        self.used += 1
        self.offset_ms, self.problem = offset_ns * 1e-6, ''
        return content

    def note_points(self, in_image: int) -> None:
        """Note how many points of the cloud that is used are in the image."""
        self.points_in_image = in_image
        if not in_image:
            self._warn(OUTSIDE, OUTSIDE)

    def status(self, camera: str, topics: str, now_s: float, active: bool) -> Status:
        """Return the input's status for diagnostics.

        Args:
            camera: name of the camera.
            topics: subscribed topics; empty if there are none.
            now_s: time of the node's clock; 0 if it is not known.
            active: whether images are processed.
        """
        in_image = self.points_in_image
        age_s = now_s - self.newest_stamp_s if self.newest_stamp_s is not None and now_s else None
        status = Status(
            f'{self.name}/{camera}',
            message='ok' if self.is_received else f'no {self.name} has arrived',
            values={
                'rate hz': show(self.arrivals.rate_hz(now_s) if active and now_s else None, 1),
                'age s': show(age_s if active else None, 3),
                'offset ms': show(self.offset_ms, 1),
                'used': str(self.used),
                **{
                    f'mismatch {reason.value}': str(self.mismatches[reason])
                    for reason in REASONS[self.name]
                },
                **{reason: str(number) for reason, number in self.missing.items()},
                **({'points in the image': str(in_image)} if in_image is not None else {}),
                'topics': topics or 'n/a',
            },
        )
        if active and (problem := self.problem or (OUTSIDE if in_image == 0 else '')):
            status.report(Level.WARN, problem)
        return status


class CalibrationInput:
    """Last camera_info of a camera, and the model that is made of it once."""

    def __init__(self) -> None:
        self._received: tuple[Any, bool] | None = None
        self._used: tuple[Any, bool] | None = None
        self._calibration: Calibration | None = None
        self._model: CameraModel | ValueError = ValueError()

    def receive(self, message: Any, rectified: bool) -> None:
        """Take a camera_info; called by the executor.

        Args:
            message: the sensor_msgs/CameraInfo.
            rectified: whether the images are rectified.
        """
        self._received = message, rectified

    def model(self, size: tuple[int, int]) -> CameraModel:
        """Return the model for an image of `size` (height, width).

        Raises:
            RefusedError: if there is no camera_info, or it cannot be used.
        """
        received = self._received
        if received is None:
            raise RefusedError(
                Mismatch.NO_INFO, 'no camera_info has arrived; remap camera_info to its topic'
            )
        if received is not self._used:
            self._used, calibration = received, read_camera_info(*received)
            if calibration != self._calibration:
                self._calibration = calibration
                try:
                    self._model = CameraModel(calibration)
                except ValueError as error:
                    self._model = error
        if isinstance(self._model, ValueError):
            raise RefusedError(Mismatch.BAD_INFO, self._model)
        if self._model.size != size:
            height, width = self._model.size
            raise RefusedError(
                Mismatch.BAD_INFO,
                f'camera_info is for images of {width} x {height}, the image has '
                f'{size[1]} x {size[0]}; remap camera_info to that of the image',
            )
        return self._model
