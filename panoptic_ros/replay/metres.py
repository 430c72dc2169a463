# SPDX-License-Identifier: Apache-2.0
"""Metres of a replay, from the depth and camera_info beside the images of each camera."""

from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.node.notices import Notices
from panoptic_ros.node.scene import Metres
from panoptic_ros.node.side_input import SideInput
from panoptic_ros.node.topics import INFO_INPUT
from panoptic_ros.recordings.beside import RESULT_NS, Feed
from panoptic_ros.replay.config import ReplayConfig
from panoptic_ros.spatial.camera_model import is_rectified


class ReplayMetres:
    """Inputs of one camera beside its images, which receive messages as the node does."""

    def __init__(self, config: ReplayConfig, camera: str) -> None:
        """Begin before the first image of a camera."""
        title = f'camera {camera}: ' if len(config.cameras) > 1 else ''
        self._metres = Metres(Notices(title).warn)
        self.topic = config.depth_topic(camera)
        self._rectified = is_rectified(config.cameras[camera])
        self._feed = Feed(config.beside[camera].records(*config.window_ns))

    @property
    def depth(self) -> SideInput:
        """The depth that was received, and counts of its use."""
        return self._metres.depth

    def at(self, image_ns: int) -> Metres:
        """Return the inputs with all that has arrived when the result of an image is made.

        Args:
            image_ns: time of the image's recording.
        """
        for name, record in self._feed.until(image_ns + RESULT_NS):
            if name == INFO_INPUT:
                self._metres.calibration.receive(record.message, self._rectified)
            else:
                stamp_ns = header_stamp_ns(record.message)
                self._metres.depth.receive(record.message, stamp_ns, record.time_ns / 1e9)
        return self._metres
