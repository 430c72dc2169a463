# SPDX-License-Identifier: Apache-2.0
"""Motion of the camera in the image, from the optical flow of stuff between two images."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage, shrink

Grey = npt.NDArray[np.uint8]

Motion = npt.NDArray[np.float64]
"""(3, 3) similarity that maps pixels (x, y, 1) of one image to the next one's."""

STANDING: Motion = np.eye(3)
"""Motion of a camera that stands still."""

MAX_SIDE_PX = 512
"""Longer side of the images in which the flow is measured."""

MAX_CORNERS = 150
MIN_CORNER_DISTANCE_PX = 8
CORNER_QUALITY = 0.01
"""Least quality of a corner, as a share of the best one's."""

WINDOW_PX = 15
PYRAMID_LEVELS = 3
"""Halvings of the image in which the flow is followed; each doubles the motion that is found."""

MAX_ERROR_PX = 2.0
"""Largest distance of a corner from the place that the model gives it."""

MIN_CORNERS = 12
"""Least number of corners that agree with the model."""

MIN_SHARE = 0.4
"""Least share of the followed corners that agree with the model."""


def small_grey(image: CameraImage) -> Grey:
    """Return an image in grey, with a longer side of at most MAX_SIDE_PX; a copy."""
    height, width = image.pixels.shape[:2]
    factor = min(1.0, MAX_SIDE_PX / max(height, width))
    pixels = image.pixels
    if factor < 1:
        pixels = shrink(pixels, (max(1, round(height * factor)), max(1, round(width * factor))))
    if image.order == 'mono':
        return pixels.copy()
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if image.order == 'rgb' else cv2.COLOR_BGR2GRAY)


def stuff_mask(frame: PanopticFrame, size: tuple[int, int]) -> Grey:
    """Return where a frame shows stuff, 255 or 0, without a margin of a cell around things.

    Args:
        frame: the frame.
        size: (height, width) of the result, px.
    """
    is_stuff = np.where(frame.segments['is_thing'] == 1, 0, 255).astype(np.uint8)
    mask = cv2.erode(frame.paint(is_stuff, 0), np.ones((3, 3), np.uint8))
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)


def measure_motion(old: Grey, new: Grey, old_mask: Grey) -> Motion | None:
    """Measure the motion of the camera between two images.

    Corners of stuff are followed by the pyramidal flow of Lucas and Kanade; the similarity that
    most of them agree with is found by RANSAC.

    Args:
        old: (h, w) the earlier image.
        new: (h, w) the later image.
        old_mask: (h, w) 255 where the earlier image shows stuff, else 0.

    Returns:
        The motion in pixels of these images; None if too few corners agree with one.
    """
    corners = cv2.goodFeaturesToTrack(
        old, MAX_CORNERS, CORNER_QUALITY, MIN_CORNER_DISTANCE_PX, mask=old_mask
    )
    if corners is None or len(corners) < MIN_CORNERS:
        return None
    guess: Any = None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        old, new, corners, guess, winSize=(WINDOW_PX, WINDOW_PX), maxLevel=PYRAMID_LEVELS
    )
    is_found = found.ravel() == 1
    if is_found.sum() < MIN_CORNERS:
        return None
    model, agrees = cv2.estimateAffinePartial2D(
        corners[is_found], moved[is_found], method=cv2.RANSAC, ransacReprojThreshold=MAX_ERROR_PX
    )
    if model is None or agrees.sum() < max(MIN_CORNERS, MIN_SHARE * is_found.sum()):
        return None
    return np.vstack([model, [0.0, 0.0, 1.0]])


def scaled(motion: Motion, scale_xy: npt.ArrayLike) -> Motion:
    """Return a motion in other pixels.

    Args:
        motion: motion.
        scale_xy: other pixels per pixel of the motion, (x, y).
    """
    scale = np.append(np.asarray(scale_xy, float), 1)
    return np.asarray(motion * scale[:, None] / scale)


def warped(boxes: npt.NDArray[np.floating], motion: Motion) -> npt.NDArray[np.float64]:
    """Return boxes (N, 4), centre x and y, width and height, after a motion.

    Sides change by the motion's scale at the centre; its rotation is ignored for them.
    """
    x, y, w = motion @ np.stack([boxes[:, 0], boxes[:, 1], np.ones(len(boxes))])
    result = np.array(boxes, float)
    result[:, 0], result[:, 1] = x / w, y / w
    result[:, 2:] *= scale_at(boxes, motion)[:, None]
    return result


def scale_at(boxes: npt.NDArray[np.floating], motion: Motion) -> npt.NDArray[np.float64]:
    """Return the change of length at the centres of boxes (N, 4) by a motion, (N,)."""
    w = motion[2] @ np.stack([boxes[:, 0], boxes[:, 1], np.ones(len(boxes))])
    return np.sqrt(np.abs(np.linalg.det(motion) / w**3))


class CameraMotion:
    """Camera whose motion from image to image is measured."""

    def __init__(self) -> None:
        self._last: tuple[Grey, PanopticFrame] | None = None

    def clear(self) -> None:
        """Forget the last image."""
        self._last = None

    def update(self, frame: PanopticFrame, image: CameraImage | None) -> Motion | None:
        """Return the motion from the last image to the next one, in camera pixels.

        Args:
            frame: the next image's segments.
            image: the image at any resolution; None if it is not known.

        Returns:
            None without a last image of the same geometry, or if no motion can be measured.
        """
        if image is None:
            self._last = None
            return None
        last, grey = self._last, small_grey(image)
        self._last = grey, frame
        if last is None or last[0].shape != grey.shape or last[1].geometry != frame.geometry:
            return None
        size = grey.shape[0], grey.shape[1]
        motion = measure_motion(last[0], grey, stuff_mask(last[1], size))
        if motion is None:
            return None
        height, width = frame.geometry.image_size
        return scaled(motion, (width / size[1], height / size[0]))
