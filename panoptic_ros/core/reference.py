# SPDX-License-Identifier: Apache-2.0
"""Reference answers: what a model finds in a test image, kept in its file.

The file holds the test image too, so that neither another version of the package nor another
decoder of pictures can change it.
"""

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.documents import parse_json
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.core.model_info import ModelInfo, Outputs

MAX_IMAGE_SIDE = 512
"""Maximum side of a test image, px."""

MAX_CELLS = 2**15
"""Maximum number of cells of a map of the reference: 128 x 256."""

MAX_ROWS = 2**16 - 1
"""Maximum number of rows; segment ids have 16 bits."""

MAX_CHARS = 2**20
"""Maximum length of the document; that of the packaged model has 0.01 million characters."""


@dataclass(frozen=True)
class Reference:
    """Answer of one engine for a test image, with the model's default thresholds."""

    engine: str
    """Library and version of the engine, e.g. `onnxruntime 1.31.1`."""

    image: npt.NDArray[np.uint8]
    """(h, w, 3) RGB; `scale_image` makes the network's input of it."""

    segment_map: npt.NDArray[np.uint16]
    """Segment ids of the decoded map, each `map_step`-th cell of both axes; 0 for void."""

    semantic_map: npt.NDArray[np.uint8]
    """Class ids of the same cells, VOID_ID for void."""

    class_of: npt.NDArray[np.uint8]
    """Class id by segment id; VOID_ID for ids without a segment."""


def map_step(info: ModelInfo) -> int:
    """Return the step with which the decoded maps are sampled for the reference, cells."""
    height, width = (n // info.stride for n in info.input_size)
    step = 1
    while -(-height // step) * -(-width // step) > MAX_CELLS:
        step += 1
    return step


def reference_of(
    outputs: Outputs, info: ModelInfo, image: npt.NDArray[np.uint8], engine: str
) -> Reference:
    """Return the reference that an engine's answer for a test image makes."""
    step = map_step(info)
    class_of = np.full(len(outputs.valid) + 1, VOID_ID, np.uint8)
    class_of[1:][outputs.valid] = outputs.class_id[outputs.valid]
    return Reference(
        engine,
        image,
        outputs.segment_map[::step, ::step].astype(np.uint16),
        outputs.semantic_map[::step, ::step],
        class_of,
    )


def scale_image(image: npt.NDArray[np.uint8], info: ModelInfo) -> npt.NDArray[np.uint8]:
    """Return a test image (h, w, 3) at the network's input size, (H, W, 3).

    Pixels are repeated, so that no library's way of scaling can change the result.
    """
    height, width = image.shape[:2]
    rows, columns = info.input_size
    y, x = np.arange(rows) * height // rows, np.arange(columns) * width // columns
    return np.ascontiguousarray(image[y[:, None], x])


def reference_to_text(reference: Reference) -> str:
    """Return the JSON document that a model file holds."""
    parts = (
        reference.image,
        reference.segment_map.astype('<u2'),
        reference.semantic_map,
        reference.class_of,
    )
    data = zlib.compress(b''.join(part.tobytes() for part in parts), 9)
    return json.dumps(
        {
            'engine': reference.engine,
            'image_size': reference.image.shape[:2],
            'rows': len(reference.class_of) - 1,
            'data': base64.b85encode(data).decode(),
        }
    )


def reference_from_text(text: str, info: ModelInfo) -> Reference:
    """Parse the document that `reference_to_text` makes.

    Args:
        text: the document.
        info: description of the model whose file holds it.

    Raises:
        ValueError: if an entry is missing or damaged, or does not fit the model.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f'it is longer than {MAX_CHARS} characters')
    document = parse_json(text, 'it')
    try:
        engine, rows = document['engine'], document['rows']
        height, width = document['image_size']
        packed = base64.b85decode(document['data'])
    except (KeyError, TypeError, ValueError):
        raise ValueError('its entries engine, image_size, rows and data are damaged') from None
    for value, most in ((height, MAX_IMAGE_SIDE), (width, MAX_IMAGE_SIDE), (rows, MAX_ROWS)):
        if type(value) is not int or not 0 < value <= most:
            raise ValueError(f'its image_size and rows must be whole numbers of 1 to {most}')
    if not isinstance(engine, str) or len(engine) > 100 or not engine.isprintable():
        raise ValueError('its engine must be a line of at most 100 characters')
    step = map_step(info)
    cells = tuple(-(-(n // info.stride) // step) for n in info.input_size)
    kinds: tuple[tuple[np.dtype[Any], tuple[int, ...]], ...] = (
        (np.dtype(np.uint8), (height, width, 3)),
        (np.dtype('<u2'), cells),
        (np.dtype(np.uint8), cells),
        (np.dtype(np.uint8), (rows + 1,)),
    )
    sizes = [dtype.itemsize * int(np.prod(shape)) for dtype, shape in kinds]
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, sum(sizes) + 1)
    except zlib.error as error:
        raise ValueError(f'its data are damaged: {error}') from None
    if len(data) != sum(sizes) or not unpacker.eof:
        raise ValueError(f'its data must have {sum(sizes)} bytes, as the size of the maps says')
    starts = np.cumsum([0, *sizes[:-1]])
    image, segment_map, semantic_map, class_of = (
        np.frombuffer(data, dtype, count=int(np.prod(shape)), offset=int(start)).reshape(shape)
        for (dtype, shape), start in zip(kinds, starts, strict=True)
    )
    if segment_map.max() > rows:
        raise ValueError(f'its segment_map has ids over its {rows} rows')
    return Reference(engine, image, segment_map.astype(np.uint16), semantic_map, class_of)
