# SPDX-License-Identifier: Apache-2.0
"""Hand-made frames: discs and dots with a class and an embedding."""

from dataclasses import dataclass

import numpy as np

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype

CAR, PERSON, ROAD = 0, 1, 2
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Disc:
    x: float
    """Centre, camera px."""
    y: float = 50
    radius: float = 10
    embedding: tuple[float, ...] = RED
    class_id: int = CAR
    is_thing: bool = True


def make_frame(
    stamp_s: float,
    *discs: Disc,
    size: tuple[int, int] = (100, 200),
    stride: int = 1,
    embedding_dim: int = 3,
) -> PanopticFrame:
    """Return a frame of discs, later ones over earlier ones; fully hidden ones get no row."""
    geometry = Geometry(size, size, stride)
    y, x = np.mgrid[: size[0] : stride, : size[1] : stride]
    segment_map = np.zeros(geometry.map_size, np.uint16)
    for i, disc in enumerate(discs, 1):
        inside = (x - disc.x) ** 2 + (y - disc.y) ** 2 <= disc.radius**2
        segment_map[inside] = i
    rows = np.zeros(len(discs), segment_dtype(embedding_dim))
    shown = np.zeros(len(discs), bool)
    for i, disc in enumerate(discs):
        rows[i]['segment_id'], rows[i]['class_id'] = i + 1, disc.class_id
        rows[i]['is_thing'], rows[i]['score'] = disc.is_thing, 1
        rows[i]['embedding'] = disc.embedding[:embedding_dim]
        ys, xs = np.nonzero(segment_map == i + 1)
        shown[i] = len(ys) > 0
        if shown[i]:
            rows[i]['bbox_x'], rows[i]['bbox_y'] = xs.min() * stride, ys.min() * stride
            rows[i]['bbox_w'] = (np.ptp(xs) + 1) * stride
            rows[i]['bbox_h'] = (np.ptp(ys) + 1) * stride
            rows[i]['area'] = len(ys) * stride**2
    return PanopticFrame(segment_map, rows[shown], geometry, stamp_s)
