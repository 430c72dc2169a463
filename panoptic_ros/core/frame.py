# SPDX-License-Identifier: Apache-2.0
"""Result for one image: a map of segments, and a table with one row per segment.

The rows are the bytes of the `panoptic/instances` message, so that a frame is published, recorded
and read again without a conversion.
"""

import math
import operator
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID


class TrackState(IntEnum):
    """State of a track; `state` in the instance table."""

    UNTRACKED = 0
    TENTATIVE = 1
    CONFIRMED = 2
    COASTING = 3


@lru_cache(maxsize=16)
def segment_dtype(embedding_dim: int) -> np.dtype[np.void]:
    """Return the dtype of a row of the instance table: packed, little-endian, 32 bits at most.

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
    """Geometry of a camera image in the network's input, and of the decoded map on the image.

    The image is scaled to fit, with its aspect ratio, into the top left corner of the input; the
    rest of the input is padding. Decoded maps have one cell per `stride` input pixels.
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

    @cached_property
    def scale(self) -> float:
        """Input pixels per camera pixel."""
        return min(limit / n for limit, n in zip(self.input_size, self.image_size, strict=True))

    @cached_property
    def content_size(self) -> tuple[int, int]:
        """(height, width) of the scaled image in the input, px."""
        height, width = (
            max(1, min(round(n * self.scale), limit))
            for n, limit in zip(self.image_size, self.input_size, strict=True)
        )
        return height, width

    @cached_property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the part of a decoded map that shows the image, cells."""
        height, width = (math.ceil(n / self.stride) for n in self.content_size)
        return height, width

    @cached_property
    def px_per_cell(self) -> tuple[float, float]:
        """Camera pixels per cell of a decoded map, (y, x)."""
        y, x = (
            n * self.stride / content
            for n, content in zip(self.image_size, self.content_size, strict=True)
        )
        return y, x

    def to_camera(
        self, cell_map: npt.NDArray[Any], out: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """Scale a decoded map to camera resolution by nearest cell.

        Args:
            cell_map: (h, w, ...) of `map_size`, of any dtype.
            out: C-contiguous array for the result, of its shape and dtype.

        Returns:
            (H, W, ...) of `image_size`.
        """
        rows, cols = _nearest_cells(self)
        # repeat() is the fastest for columns. take() is as fast for rows, and writes into out;
        # without mode it would buffer out.
        wide = np.repeat(cell_map, np.bincount(cols, minlength=cell_map.shape[1]), axis=1)
        return np.take(wide, rows, axis=0, out=out, mode='clip')

    def cells_of(
        self, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.intp]:
        """Return the index in a flattened decoded map of the cell that each pixel shows.

        Args:
            rows: rows of the camera's image, of any shape.
            cols: columns, to be broadcast with them.
        """
        cell_rows, cell_cols = _nearest_cells(self)
        return cell_rows[rows] * self.map_size[1] + cell_cols[cols]


@lru_cache(maxsize=16)
def _nearest_cells(geometry: Geometry) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the map row of each camera row, and the map column of each camera column."""
    rows, cols = (
        np.minimum(((np.arange(n) + 0.5) / px).astype(np.intp), cells - 1)
        for n, px, cells in zip(
            geometry.image_size, geometry.px_per_cell, geometry.map_size, strict=True
        )
    )
    return rows, cols


@dataclass(frozen=True)
class PanopticFrame:
    """Segments of one image.

    Example:
        >>> segments = np.zeros(2, segment_dtype(embedding_dim=0))
        >>> segments['segment_id'] = 1, 2
        >>> segments['class_id'] = 0, 7
        >>> frame = PanopticFrame(
        ...     np.array([[1, 1, 1, 2], [1, 1, 0, 2]], np.uint16),
        ...     segments,
        ...     Geometry(image_size=(480, 960), input_size=(8, 16), stride=4),
        ...     stamp_s=0.0,
        ... )
        >>> frame.semantic_map  # 255 is void
        array([[  0,   0,   0,   7],
               [  0,   0, 255,   7]], dtype=uint8)
        >>> frame.geometry.to_camera(frame.segment_map).shape
        (480, 960)
    """

    segment_map: npt.NDArray[np.uint16]
    """(h, w) segment id per cell, 0 = void, of `geometry.map_size`. `geometry.to_camera` scales it
    to camera resolution."""

    segments: npt.NDArray[np.void]
    """(S,) rows of `segment_dtype`, one per segment id of the map."""

    geometry: Geometry

    stamp_s: float
    """Time of the image, seconds."""

    unknown_id: int | None = None
    """Class id of segments whose class is withheld, see `ModelInfo.unknown`; None if none is."""

    confidence_map: npt.NDArray[np.uint8] | None = None
    """(h, w) probability of the class or mask of a cell times 255, 0 on void; None for a model
    file of version 0.1.0, and for frames that are not a model's."""

    void_id: int = VOID_ID
    """Value of `semantic_map` on void; another one only if messages are, see `LabelRemap`."""

    def __post_init__(self) -> None:
        for name in ('segment_map', 'confidence_map'):
            cell_map = getattr(self, name)
            if cell_map is not None and cell_map.shape != self.geometry.map_size:
                raise ValueError(f'{name} must be {self.geometry.map_size}, got {cell_map.shape}')

    @property
    def class_of_segment(self) -> dict[int, int]:
        """Class id of each segment, by segment id."""
        ids, classes = self.segments['segment_id'], self.segments['class_id']
        return dict(zip(ids.tolist(), classes.tolist(), strict=True))

    @property
    def semantic_map(self) -> npt.NDArray[np.uint8]:
        """(h, w) class id per cell, `void_id` = void."""
        return self.paint(self.segments['class_id'].astype(np.uint8), self.void_id)

    def paint(self, values: npt.NDArray[Any], void: Any) -> npt.NDArray[Any]:
        """Return a map that holds a value of each cell's segment.

        Args:
            values: (S, ...) one value per row of `segments`.
            void: value of cells without a segment.

        Returns:
            (h, w, ...) of the dtype of `values`.
        """
        ids = self.segments['segment_id']
        table = np.empty((int(ids.max(initial=0)) + 1, *values.shape[1:]), values.dtype)
        table[:] = void
        table[ids] = values
        return np.take(table, self.segment_map, axis=0)  # a quarter of the time of indexing


def keep_segments(frame: PanopticFrame, keep: npt.NDArray[np.bool_]) -> PanopticFrame:
    """Return a frame without some of its segments, whose cells become void.

    Args:
        frame: frame with S segments.
        keep: (S,), False for the segments to remove.
    """
    ids = np.where(keep, frame.segments['segment_id'], 0).astype(np.uint16)
    segment_map, confidence_map = frame.paint(ids, 0), frame.confidence_map
    if confidence_map is not None:
        confidence_map = zero_on_void(confidence_map, segment_map)
    return replace(
        frame,
        segment_map=segment_map,
        segments=frame.segments[keep],
        confidence_map=confidence_map,
    )


def zero_on_void(
    confidence_map: npt.NDArray[np.uint8], segment_map: npt.NDArray[np.uint16]
) -> npt.NDArray[np.uint8]:
    """Return confidences, (h, w), that are 0 on void cells."""
    return np.where(segment_map > 0, confidence_map, np.uint8(0))


def without_unknown(frame: PanopticFrame) -> PanopticFrame:
    """Return a frame whose unknown segments are void, which is neither right nor wrong."""
    if frame.unknown_id is None:
        return frame
    return keep_segments(frame, frame.segments['class_id'] != frame.unknown_id)


DATATYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
"""NumPy type by sensor_msgs/PointField.datatype, without the byte order."""

MAX_ROW_BYTES = 2**31 - 1
"""Maximum point_step, NumPy's own limit."""


def read_instances(message: Any) -> npt.NDArray[np.void]:
    """Convert a PointCloud2 message (from rclpy or a bag) to a NumPy structured array.

    Args:
        message: any object with PointCloud2's attributes, for example a message of
            `panoptic/instances`. Its fields may be in any order, and its rows may be padded.

    Returns:
        (S,) structured array, a copy, with one field per PointField; see `segment_dtype` for
        the fields of `panoptic/instances` and their units.

    Example:
        >>> from types import SimpleNamespace as Message  # a ROS node receives a real message
        >>> message = Message(
        ...     height=1, width=2, point_step=8, row_step=16, is_bigendian=False,
        ...     fields=[
        ...         Message(name='score', offset=0, datatype=7, count=1),  # float32
        ...         Message(name='track_id', offset=4, datatype=6, count=1),  # uint32
        ...     ],
        ...     data=np.array([(0.75, 1), (0.5, 2)], '<f4, <u4').tobytes(),
        ... )
        >>> instances = read_instances(message)
        >>> instances['track_id'][instances['score'] > 0.6].tolist()
        [1]

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
    """Return the NumPy dtype of one point.

    All sizes are checked as Python integers first: NumPy's own check overflows, and a field that
    passes it wrongly would be read from outside the data.
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
        # Some senders write 0 for 1. An `embedding` with count 0 really is empty.
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
    """Return a number of a message as a Python integer, 0 or more."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f'{name} must be a whole number from 0, got {value!r}')
    return number
