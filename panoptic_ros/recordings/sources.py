# SPDX-License-Identifier: Apache-2.0
"""Pictures of a source that is no bag: what they are, and when they are due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt


class RawImage(NamedTuple):
    """The fields of a sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: npt.NDArray[np.uint8]
    """Bytes, of any shape, C-contiguous."""


class CompressedImage(NamedTuple):
    """The fields of a sensor_msgs/CompressedImage."""

    format: str
    data: npt.NDArray[np.uint8]


class Picture(NamedTuple):
    """One image, and when it is due."""

    time_s: float | None
    """Since the first image; never goes back. None: now, the camera itself sets the pace."""

    image: RawImage | CompressedImage


class Source(Protocol):
    """Gives the same pictures each time it is asked; opening and checking is the constructor's."""

    name: str
    """For people."""

    rate_hz: float
    """Pictures per second, nearly."""

    length_s: float | None
    """None if it never ends."""

    compressed: bool

    def pictures(self) -> Iterator[Picture]:
        """Opens the source and yields its pictures."""
