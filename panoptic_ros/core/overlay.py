# SPDX-License-Identifier: Apache-2.0
"""Overlay of a frame's segments on the camera image, for people."""

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage, copy_rgb
from panoptic_ros.core.labels import LabelSet

ALPHA = 0.45
"""Weight of the class colour in a painted pixel."""

GOLDEN_RATIO = 0.618034
"""Hue step from one track id to the next, in turns; near ids get distant hues."""


def draw_overlay(
    image: CameraImage,
    frame: PanopticFrame,
    labels: LabelSet,
    out: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Paint each segment in its class's colour, and draw each thing's outline and name.

    Args:
        image: the image that `frame` was made from.
        frame: its segments. A thing with a track also shows its track id, in the track's colour.
        labels: names and colours by class id.
        out: (H, W, 3) array to paint into; None allocates one.

    Returns:
        `out`, RGB. Void pixels keep the image's colour.
    """
    if out is None:
        out = np.empty((*frame.geometry.image_size, 3), np.uint8)
    copy_rgb(image, out)
    colors = frame.paint(labels.colors[frame.segments['class_id']], 0)  # (h, w, 3)
    painted = frame.geometry.to_camera(colors)  # (H, W, 3)
    void = frame.segment_map == 0
    if void.any():
        cv2.copyTo(out, frame.geometry.to_camera(void.view(np.uint8)), painted)
    cv2.addWeighted(out, 1 - ALPHA, painted, ALPHA, 0, dst=out)
    for row in frame.segments[frame.segments['is_thing'] == 1]:
        _outline(out, frame, row, labels.names[row['class_id']])
    return out


def track_color(track_id: int) -> tuple[int, int, int]:
    """Return the RGB colour of a track, light and saturated; white for 0 (no track)."""
    if track_id == 0:
        return 255, 255, 255
    red, green, blue = colorsys.hsv_to_rgb(track_id * GOLDEN_RATIO % 1, 0.6, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def _outline(out: npt.NDArray[np.uint8], frame: PanopticFrame, row: np.void, name: str) -> None:
    """Draw one thing's outline, and its name and track id above its box."""
    per_cell = np.array(frame.geometry.px_per_cell[::-1])  # (x, y)
    corner = np.array([row['bbox_x'], row['bbox_y']])
    size = np.array([row['bbox_w'], row['bbox_h']])
    x1, y1 = np.maximum((corner / per_cell).astype(int) - 1, 0)
    x2, y2 = np.ceil((corner + size) / per_cell).astype(int) + 1
    mask = (frame.segment_map[y1:y2, x1:x2] == row['segment_id']).view(np.uint8)
    if not mask.any():  # a coasting track has no pixels
        return
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    # Contour points are cell centres; shift=2 draws them at quarters of a pixel.
    lines = [
        np.rint((points + (x1, y1) + 0.5) * per_cell * 4).astype(np.int32) for points in contours
    ]
    color = track_color(int(row['track_id']))
    thickness = max(1, round(out.shape[0] / 400))
    cv2.polylines(out, lines, True, color, thickness, cv2.LINE_8, shift=2)
    text = f'{name} #{row["track_id"]}' if row['track_id'] else name
    x, y = int(corner[0]), max(int(corner[1]) - 3 * thickness, 12 * thickness)
    scale = 0.45 * max(1.0, out.shape[0] / 600)
    for shift, shade in ((thickness, (0, 0, 0)), (0, color)):
        cv2.putText(
            out,
            text,
            (x + shift, y + shift),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            shade,
            thickness,
            cv2.LINE_AA,
        )
