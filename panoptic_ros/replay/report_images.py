# SPDX-License-Identifier: Apache-2.0
"""Images in the pages of a replay."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import encode_jpeg, shrink
from panoptic_ros.replay.frame_records import FrameRecord

T = TypeVar('T')

SHOWN = 6
"""Number of images in a page."""

WINDOW_NS = 500_000_000
"""Shortest time between two images of a camera in a page; images closer than that look alike."""

MAX_WIDTH = 1920
"""Largest width, px; wider images would make the page slow to open."""

JPEG_QUALITY = 85


def choose_apart(ranked: Iterable[T], record_of: Callable[[T], FrameRecord]) -> list[T]:
    """Return the first SHOWN items, at least WINDOW_NS apart in each camera.

    Args:
        ranked: the items, those to show first at the start.
        record_of: returns the record of an item's frame.
    """
    chosen: list[T] = []
    for item in ranked:
        record = record_of(item)
        is_near = any(
            record.camera == other.camera
            and abs(record.recorded_ns - other.recorded_ns) < WINDOW_NS
            for other in map(record_of, chosen)
        )
        if not is_near and len(chosen) < SHOWN:
            chosen.append(item)
    return chosen


def shrunk_jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture (H, W, 3) RGB as JPEG, reduced to MAX_WIDTH."""
    height, width = picture.shape[:2]
    if width > MAX_WIDTH:
        picture = shrink(picture, (max(1, round(height * MAX_WIDTH / width)), MAX_WIDTH))
    return encode_jpeg(picture, JPEG_QUALITY)
