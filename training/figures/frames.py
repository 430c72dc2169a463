# SPDX-License-Identifier: Apache-2.0
"""Parts of a predicted frame that figures show."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from panoptic_ros.core.frame import PanopticFrame

from .figure import NotDrawnError


def things_only(frame: PanopticFrame) -> PanopticFrame:
    """Return a frame without its stuff."""
    things = frame.segments[frame.segments['is_thing'] == 1]
    shown = np.isin(frame.segment_map, things['segment_id'])
    segment_map = np.where(shown, frame.segment_map, 0).astype(np.uint16)
    return replace(frame, segment_map=segment_map, segments=things)


def largest_thing_pixel(frame: PanopticFrame) -> tuple[int, int]:
    """Return the pixel (x, y) of the image that is deepest inside the largest thing.

    Raises:
        NotDrawnError: without a thing.
    """
    things = frame.segments[frame.segments['is_thing'] == 1]
    if not len(things):
        raise NotDrawnError('no thing is found; choose a pixel with --pixel')
    largest = things['segment_id'][things['area'].argmax()]
    y, x = deepest(frame.segment_map == largest)
    px_y, px_x = frame.geometry.px_per_cell
    height, width = frame.geometry.image_size
    return min(int((x + 0.5) * px_x), width - 1), min(int((y + 0.5) * px_y), height - 1)


def deepest(mask: np.ndarray) -> tuple[int, int]:
    """Return the cell (y, x) of a mask (h, w) that is farthest from its edge."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(y), int(x)
