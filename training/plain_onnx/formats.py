# SPDX-License-Identifier: Apache-2.0
"""Formats of networks: which outputs each one is expected to have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.config import IMAGENET_MEAN, IMAGENET_STD

from .source import Value

TOLERANCE = 1e-2
"""Tolerance of probabilities, which float16 rounds."""


Size = tuple[int, int]
"""(height, width), px."""


class Match(NamedTuple):
    """Outputs of a network that has a format's layout."""

    layout: str
    """Name of the layout in `panoptic_ros.models.plain_onnx.config`, or `queries`."""

    outputs: tuple[int, ...]
    """Indices of the outputs, in the order of the decoding."""

    channels: int | None
    """C, the number of classes; None if the layout does not tell."""

    channels_last: bool = False
    """Whether a map is (1, h, w, C)."""


@dataclass(frozen=True)
class Format:
    """Layout of the outputs, and the usual input."""

    expects: str
    """The outputs in words: C classes, N boxes, M prototypes, Q queries."""

    kind: str
    """instances, semantic or queries."""

    match: Callable[[Sequence[Value], Size], Match | None]
    """Returns which outputs of a network with an input (height, width) are which; None for another
    layout."""

    check: Callable[[Match, Sequence[npt.NDArray[Any]]], str]
    """Returns what is wrong with the outputs for an image, in the layout's order; or ''."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Usual normalisation of images from 0 to 1."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Usual thresholds, where they differ from those of `PlainOnnxConfig`."""


def _floats(found: Sequence[Value], rank: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return index and shape of the outputs of one image that are floats of a rank."""
    return [
        (i, value.shape)
        for i, value in enumerate(found)
        if value.dtype.kind == 'f' and len(value.shape) == rank and value.shape[0] == 1
    ]


def _with_prototypes(
    layout: str, channels: Callable[[int, int, int], int | None]
) -> Callable[[Sequence[Value], Size], Match | None]:
    """Return the match of a table of boxes and prototypes.

    Args:
        layout: name of the layout.
        channels: returns C, or None for another layout, of the table's two axes and M; 0 stands
            for an unknown number.
    """

    def match(found: Sequence[Value], size: Size) -> Match | None:
        for i, (_, first, last) in _floats(found, 3):
            for j, (_, count, *sides) in _floats(found, 4):
                number = channels(first, last, count)
                if number is not None and number <= VOID_ID and _fits(sides, size):
                    return Match(layout, (i, j), number or None)
        return None

    return match


def _semantic(found: Sequence[Value], size: Size) -> Match | None:
    if len(found) != 1:
        return None
    kind, shape = found[0].dtype.kind, found[0].shape
    if shape[:1] != (1,) or len(shape) not in (3, 4):
        return None
    if kind in 'iu':
        sides = [n for n in shape[1:] if n > 1] if len(shape) == 4 else shape[1:]
        return Match('ids', (0,), None) if _fits(sides, size) else None
    if kind == 'f' and len(shape) == 4:
        for channels, sides, last in ((shape[1], shape[2:], False), (shape[3], shape[1:3], True)):
            if 2 <= channels <= VOID_ID and _fits(sides, size):
                return Match('logits', (0,), channels, last)
    return None


def _fits(sides: Sequence[int], size: Size) -> bool:
    """Return whether a map can be that of the whole image: the same shape but for one cell."""
    if len(sides) != 2 or min(sides) < 1:
        return False
    (rows, columns), (height, width) = sides, size
    return abs(rows * width - columns * height) <= max(height, width)


def _queries(found: Sequence[Value], size: Size) -> Match | None:
    masks = _floats(found, 4)
    logits = [
        (i, shape)
        for i, shape in _floats(found, 3)
        if masks and shape[1] == masks[0][1][1] and 'box' not in found[i].name.lower()
    ]
    if len(masks) != 1 or len(logits) != 1 or not 2 <= logits[0][1][2] <= VOID_ID + 1:
        return None
    return Match('queries', (logits[0][0], masks[0][0]), logits[0][1][2] - 1)


def _rf_detr(found: Sequence[Value], size: Size) -> Match | None:
    masks, tables = _floats(found, 4), _floats(found, 3)
    if len(found) != 3 or len(masks) != 1 or len(tables) != 2:
        return None
    boxes = [i for i, shape in tables if shape[2] == 4]
    named = [i for i in boxes if found[i].name in ('dets', 'pred_boxes')]
    chosen = (named if len(boxes) == 2 else boxes)[:1]
    rest = [(i, shape) for i, shape in tables if [i] != chosen]
    counts = {masks[0][1][1], *(shape[1] for _, shape in tables)}
    if not chosen or len(rest) != 1 or len(counts) != 1 or rest[0][1][2] > VOID_ID:
        return None
    return Match('rf-detr', (*chosen, rest[0][0], masks[0][0]), rest[0][1][2])


def _check_dense(match: Match, values: Sequence[npt.NDArray[Any]]) -> str:
    """Check the probabilities of all boxes."""
    if match.layout == 'yolo':
        return _not_probabilities(values[0][0, 4 : 4 + (match.channels or 0)])
    return _not_probabilities(values[0][0, :, 4 : 5 + (match.channels or 0)])


def _check_end2end(match: Match, values: Sequence[npt.NDArray[Any]]) -> str:
    channel = values[0][0, :, 5]
    if not np.array_equal(channel, np.rint(channel)):
        return 'the sixth number of a row must be a class id, a whole number'
    return _not_probabilities(values[0][0, :, 4])


def _not_probabilities(values: npt.NDArray[Any]) -> str:
    low, high = values.min(initial=0), values.max(initial=0)
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return ''
    return f'scores must lie in 0 to 1, got {low:.3g} to {high:.3g} for a chart of colours'


def is_distribution(values: npt.NDArray[Any], axis: int) -> bool:
    """Return whether values are probabilities that add up to 1 along an axis."""
    return bool(
        values.min() >= 0 and np.abs(values.astype(np.float32).sum(axis) - 1).max() < TOLERANCE
    )


FORMATS = {
    'yolo-seg': Format(
        'floats (1, 4 + C + M, N) and (1, M, h, w)',
        'instances',
        _with_prototypes('yolo', lambda a, b, m: a - 4 - m if a - 4 - m > 0 else None),
        _check_dense,
    ),
    'yolov5-seg': Format(
        'floats (1, N, 5 + C + M) and (1, M, h, w)',
        'instances',
        _with_prototypes('yolov5', lambda a, b, m: b - 5 - m if b - 5 - m > 0 else None),
        _check_dense,
        thresholds={'nms_threshold': 0.45},
    ),
    'yolo-seg-end2end': Format(
        'floats (1, N, 6 + M) and (1, M, h, w)',
        'instances',
        _with_prototypes('yolo-end2end', lambda a, b, m: 0 if b - 6 == m else None),
        _check_end2end,
    ),
    'rf-detr-seg': Format(
        'floats (1, N, 4), (1, N, C) and (1, N, h, w)',
        'instances',
        _rf_detr,
        lambda match, values: _not_probabilities(values[0]).replace('scores', 'boxes'),
        IMAGENET_MEAN,
        IMAGENET_STD,
        {'score_threshold': 0.5},
    ),
    'semantic': Format(
        'one output: floats (1, C, h, w) or (1, h, w, C), or class ids (1, h, w), (1, 1, h, w) '
        'or (1, h, w, 1) of integers',
        'semantic',
        _semantic,
        lambda match, values: '',
        IMAGENET_MEAN,
        IMAGENET_STD,
        {'score_threshold': 0.0, 'min_area': 256.0},
    ),
    'queries': Format(
        'floats (1, Q, C + 1), logits whose last class is "nothing", and (1, Q, h, w), logits of '
        'masks',
        'queries',
        _queries,
        lambda match, values: '',
        IMAGENET_MEAN,
        IMAGENET_STD,
        {'score_threshold': 0.5},
    ),
}
"""Layouts by the name that `--format` takes."""
