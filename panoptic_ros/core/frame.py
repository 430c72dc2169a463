# SPDX-License-Identifier: Apache-2.0
"""What one image turns into: a map of segments and one row per segment.

The row is the instance table of the node's interface, byte for byte, so that a frame is
published, recorded and read back without a conversion.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID


class TrackState(IntEnum):
    """Life of a track; `state` in the instance table."""

    UNTRACKED = 0
    TENTATIVE = 1
    CONFIRMED = 2
    COASTING = 3


def segment_dtype(embedding_dim: int) -> np.dtype[np.void]:
    """The instance table's row: packed, little-endian, nothing wider than 32 bits.

    Fields: x, y, z centroid in metres in the camera's optical frame (NaN without depth);
    u, v centroid in camera pixels; segment_id, track_id (0: none), class_id; is_thing; state
    (TrackState); score in [0, 1]; bbox in camera pixels; area in camera pixels; age in frames;
    embedding (embedding_dim,).
    """
    return np.dtype(
        [
            *((name, '<f4') for name in ('x', 'y', 'z', 'u', 'v')),
            *((name, '<u4') for name in ('segment_id', 'track_id', 'class_id')),
            ('is_thing', 'u1'),
            ('state', 'u1'),
            ('score', '<f4'),
            *((name, '<f4') for name in ('bbox_x', 'bbox_y', 'bbox_w', 'bbox_h')),
            ('area', '<u4'),
            ('age', '<u4'),
            ('embedding', '<f4', (embedding_dim,)),
        ]
    )


@dataclass(frozen=True)
class Geometry:
    """How a camera image is laid into the network's input, and labels back onto the camera.

    The image is scaled to fit with its aspect ratio kept, into the top left corner; the rest of
    the input is padding. Decoded maps have one cell per `stride` input pixels.
    """

    image_size: tuple[int, int]
    """Camera image (height, width), px."""

    input_size: tuple[int, int]
    """Network input (height, width), px."""

    stride: int
    """Input pixels per cell of a decoded map."""

    def __post_init__(self) -> None:
        if min(self.image_size) < 1:
            raise ValueError(f'an image needs at least 1 x 1 pixels, got {self.image_size}')

    @property
    def scale(self) -> float:
        """Input pixels per camera pixel."""
        return min(limit / n for limit, n in zip(self.input_size, self.image_size, strict=True))

    @property
    def content_size(self) -> tuple[int, int]:
        """(height, width) of the scaled image inside the input, px."""
        height, width = (
            max(1, min(round(n * self.scale), limit))
            for n, limit in zip(self.image_size, self.input_size, strict=True)
        )
        return height, width

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the part of a decoded map that shows the image, cells."""
        height, width = (math.ceil(n / self.stride) for n in self.content_size)
        return height, width

    @property
    def px_per_cell(self) -> tuple[float, float]:
        """(y, x) camera pixels per cell of a decoded map."""
        y, x = (
            n * self.stride / content
            for n, content in zip(self.image_size, self.content_size, strict=True)
        )
        return y, x

    def to_camera(
        self, cell_map: npt.NDArray[Any], out: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """Brings a decoded map (h, w, ...) to camera resolution (H, W, ...) by nearest cell.

        Args:
            cell_map: of any dtype.
            out: C-contiguous array of the result's shape and dtype to write into.
        """
        rows, cols = _nearest_cells(self)
        # take() is 4 (mono) to 20 (RGB) times as fast as indexing; without mode it buffers `out`.
        wide = np.take(cell_map, cols, axis=1)
        return np.take(wide, rows, axis=0, out=out, mode='clip')


@lru_cache(maxsize=16)
def _nearest_cells(geometry: Geometry) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row of the map for each camera row, and column for each camera column."""
    rows, cols = (
        np.minimum(((np.arange(n) + 0.5) / px).astype(np.intp), cells - 1)
        for n, px, cells in zip(
            geometry.image_size, geometry.px_per_cell, geometry.map_size, strict=True
        )
    )
    return rows, cols


@dataclass(frozen=True)
class PanopticFrame:
    """The segments of one image."""

    segment_map: npt.NDArray[np.uint16]
    """(h, w) segment id per cell, 0 = void; `geometry.map_size`. At camera resolution:
    `geometry.to_camera(segment_map)`."""

    segments: npt.NDArray[np.void]
    """(S,) rows of `segment_dtype`, each segment id of the map once."""

    geometry: Geometry

    stamp_s: float
    """Time of the image, seconds."""

    def __post_init__(self) -> None:
        if self.segment_map.shape != self.geometry.map_size:
            raise ValueError(
                f'segment_map must be {self.geometry.map_size}, got {self.segment_map.shape}'
            )

    @property
    def semantic_map(self) -> npt.NDArray[np.uint8]:
        """(h, w) class id per cell, VOID_ID = void."""
        return self.paint(self.segments['class_id'].astype(np.uint8), VOID_ID)

    def paint(self, values: npt.NDArray[Any], void: Any) -> npt.NDArray[Any]:
        """Gives each cell its segment's value.

        Args:
            values: (S, ...) one per row of `segments`.
            void: value of cells without a segment.

        Returns:
            (h, w, ...) of values' dtype.
        """
        ids = self.segments['segment_id']
        table = np.empty((int(ids.max(initial=0)) + 1, *values.shape[1:]), values.dtype)
        table[:] = void
        table[ids] = values
        return table[self.segment_map]


DATATYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
"""sensor_msgs/PointField.datatype to numpy, without the byte order."""


MAX_ROW_BYTES = 2**31 - 1
"""Largest point_step, numpy's own limit."""


def read_instances(message: Any) -> npt.NDArray[np.void]:
    """Reads a PointCloud2 (from rclpy, or from a bag) into a numpy structured array.

    Args:
        message: anything with PointCloud2's attributes; its fields may lie in any order, and its
            rows of points may be padded.

    Returns:
        (S,) structured array, a copy, one field per PointField.

    Raises:
        ValueError: if the fields or the data do not fit the message's sizes.
    """
    height, width, point_step, row_step = (
        _size(getattr(message, name), name)
        for name in ('height', 'width', 'point_step', 'row_step')
    )
    dtype = _row_dtype(message.fields, point_step, '>' if message.is_bigendian else '<')
    try:
        data = np.frombuffer(message.data, np.uint8)
    except (TypeError, BufferError) as error:
        raise ValueError(f'data must be bytes: {error}') from None
    row_bytes = width * point_step
    row_step = row_step or row_bytes  # some senders leave it 0
    if (
        row_step < row_bytes
        or data.size != height * row_step
        or (point_step == 0 and height * width)
    ):
        raise ValueError(
            f'data must hold {height} x {width} points of {point_step} bytes in rows '
            f'of {row_step} bytes, got {data.size} bytes'
        )
    if height * width == 0:
        return np.empty(0, dtype)
    # A copy, so that the array's bytes are one block whose type may change.
    return data.reshape(height, row_step)[:, :row_bytes].copy().reshape(-1).view(dtype)


def _row_dtype(fields: Any, point_step: int, order: str) -> np.dtype[np.void]:
    """The numpy type of one point.

    Everything is checked in Python's integers first: numpy's own check overflows, and what
    passes it then is read from outside the data.
    """
    if point_step > MAX_ROW_BYTES:
        raise ValueError(f'point_step must be at most {MAX_ROW_BYTES}, got {point_step}')
    parts: dict[str, tuple[Any, int]] = {}
    for field in fields:
        name = field.name
        if not isinstance(name, str) or not name or name in parts:
            raise ValueError(f'each field needs a name of its own, got {name!r}')
        datatype = _size(field.datatype, f'datatype of field {name!r}')
        if datatype not in DATATYPES:
            raise ValueError(f'field {name!r} has unknown datatype {datatype}')
        base = np.dtype(order + DATATYPES[datatype])
        offset = _size(field.offset, f'offset of field {name!r}')
        count = _size(field.count, f'count of field {name!r}')
        # Some senders mean 1 by 0; a model without embeddings means none.
        if name != 'embedding':
            count = max(1, count)
        if offset + count * base.itemsize > point_step:
            raise ValueError(
                f'field {name!r} (offset {offset}, {count} x {base.itemsize} bytes) '
                f'does not fit point_step {point_step}'
            )
        is_scalar = count == 1 and name != 'embedding'
        parts[name] = np.dtype(base if is_scalar else (base, (count,))), offset
    return np.dtype(
        {
            'names': list(parts),
            'formats': [kind for kind, _ in parts.values()],
            'offsets': [offset for _, offset in parts.values()],
            'itemsize': point_step,
        }
    )


def _size(value: Any, name: str) -> int:
    """A message's number as an integer that cannot overflow, 0 or more."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f'{name} must be a whole number from 0, got {value!r}')
    return number
