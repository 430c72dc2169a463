# SPDX-License-Identifier: Apache-2.0
"""Interface of everything that yields one stream of images: video, folder, camera, bag."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt


class RawImage(NamedTuple):
    """The fields of a sensor_msgs/Image, without its header."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    """Bytes of a row."""

    data: npt.NDArray[np.uint8]
    """Bytes, of any shape, C-contiguous."""


class CompressedImage(NamedTuple):
    """The fields of a sensor_msgs/CompressedImage, without its header."""

    format: str
    data: npt.NDArray[np.uint8]


class BesideMessage(NamedTuple):
    """A message beside an image: of depth or camera_info."""

    name: str
    """Name of the node's input."""

    message: Any
    offset_ns: int
    """Its stamp minus that of the image."""


class TimedImage(NamedTuple):
    """An image and the time at which it is due."""

    time_s: float | None
    """Seconds since the first image, never decreasing; None for a live camera, whose images are
    due when they arrive."""

    image: RawImage | CompressedImage

    beside: Sequence[BesideMessage] = ()
    """Messages that belong to the image."""


NOTHING_BESIDE: Mapping[str, str] = MappingProxyType({})


class ImageSource(Protocol):
    """Stream of images; the constructor opens and checks it, `images` can be called repeatedly."""

    name: str
    """Description for messages to the user."""

    rate_hz: float
    """Approximate images per second."""

    duration_s: float | None
    """Length of the stream; None if it does not end."""

    compressed: bool
    """Whether the images are `CompressedImage`, else `RawImage`."""

    beside: Mapping[str, str]
    """Message type by name of the inputs beside the images."""

    def images(self) -> Iterator[TimedImage]:
        """Open the source and yield its images from the first one on."""
