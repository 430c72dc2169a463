# SPDX-License-Identifier: Apache-2.0
"""Blurred heads of people and lower halves of vehicles, where faces and number plates are.

No face detector is used: the regions follow from the model's own masks, so what the model misses
is not blurred.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import LabelSet

PEOPLE = (
    'person',
    'pedestrian',
    'people',
    'rider',
    'cyclist',
    'bicyclist',
    'motorcyclist',
    'other rider',
)
VEHICLES = ('car', 'truck', 'bus', 'van', 'caravan', 'trailer', 'motorcycle', 'other vehicle')
"""Names of classes, in lower case."""

HEAD_SHARE = 0.3
"""Part of a person's box from the top that is blurred."""

PLATE_SHARE = 0.6
"""Part of a vehicle's box from the bottom that is blurred."""

MARGIN = 0.1
"""Border around a mask that is blurred too, in widths of its box."""

BLOCKS = 4
"""Blocks of one colour across the shorter side of a region."""


def describe_blur(labels: LabelSet) -> str:
    """Return what `blurred` blurs with a model's classes, as a line for the user.

    Raises:
        ValueError: if the model knows neither people nor vehicles.
    """
    parts = []
    for what, names in (('heads of', PEOPLE), ('number plates of', VEHICLES)):
        found = [labels.names[i] for i in _ids(labels, names)]
        parts.append(f'{what} {", ".join(found) or "nothing, as the model has no such class"}')
    if not _ids(labels, PEOPLE + VEHICLES):
        raise ValueError(
            f'--blur needs a class of people or vehicles ({", ".join(PEOPLE + VEHICLES)}); the '
            f'model has {", ".join(labels.names)}'
        )
    return f'blurred: {"; ".join(parts)}; only where the model finds them, so look at the pictures'


def blurred(
    image: npt.NDArray[np.uint8], frame: PanopticFrame, labels: LabelSet
) -> npt.NDArray[np.uint8]:
    """Return an image without heads and number plates.

    Of each person the upper 30 % of the box, of each vehicle the lower 60 %, both within the mask
    and a border of a tenth of the box's width, become blocks of their mean colour.

    Args:
        image: (H, W, 3).
        frame: its result, at any resolution.
        labels: the model's classes.
    """
    out = image.copy()
    segment_map = frame.geometry.to_camera(frame.segment_map)
    for ids, is_head in ((_ids(labels, PEOPLE), True), (_ids(labels, VEHICLES), False)):
        for row in frame.segments[np.isin(frame.segments['class_id'], ids)]:
            _blur(image, out, segment_map == row['segment_id'], is_head)
    return out


def _blur(
    image: npt.NDArray[np.uint8],
    out: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_],
    is_head: bool,
) -> None:
    """Replace a part of a mask, (H, W), in `out` by blocks of the image's colours."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    top, height = int(rows[0]), int(rows[-1] + 1 - rows[0])
    left, width = int(cols[0]), int(cols[-1] + 1 - cols[0])
    margin = int(np.ceil(MARGIN * width)) + 1
    if is_head:
        y = top - margin, top + int(np.ceil(HEAD_SHARE * height))
    else:
        y = top + int((1 - PLATE_SHARE) * height), top + height + margin
    x = left - margin, left + width + margin
    part = slice(max(y[0], 0), max(y[1], 0)), slice(max(x[0], 0), x[1])
    near = cv2.dilate(
        mask[part].view(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    )
    pixels = image[part]
    size = pixels.shape[1::-1]
    step = max(2, min(size) / BLOCKS)
    few = tuple(max(1, int(n / step)) for n in size)
    coarse = cv2.resize(pixels, few, interpolation=cv2.INTER_AREA)
    blocks = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)
    out[part][near > 0] = blocks[near > 0]


def _ids(labels: LabelSet, names: Sequence[str]) -> list[int]:
    return [i for i, name in enumerate(labels.names) if name.casefold() in names]
