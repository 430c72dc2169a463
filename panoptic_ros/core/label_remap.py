# SPDX-License-Identifier: Apache-2.0
"""Label spaces of consumers: classes are published with other ids and colours than the model's.

Everything up to the messages works with the model's class ids. Messages are made from
`published_frame` and `LabelSet.by_published_id`, so that all of them have the same ids.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from panoptic_ros.core.class_file import read_class_file
from panoptic_ros.core.frame import PanopticFrame, keep_segments
from panoptic_ros.core.labels import VOID_ID, LabelRemap, LabelSet, find_name


def read_label_remap(path: Path, labels: LabelSet) -> LabelRemap:
    """Read ids and colours from a class file.

    Args:
        path: a class file with some of the model's classes; see `core.class_file`. `id` and
            `color` are what to publish. The first id of `ignore` is that of void, else 255.
        labels: the model's classes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a class file, names a class that the model does not have or
            another kind than the model's, or has an id that an 8 bit image does not hold.
    """
    content = read_class_file(path)
    ids: list[int | None] = [None] * len(labels)
    colors: list[tuple[int, int, int] | None] = [None] * len(labels)
    try:
        if content.void_id > VOID_ID:
            raise ValueError(f'the id of void must be 0 to {VOID_ID}, got {content.void_id}')
        for given, published_id, color in zip(
            content.labels.labels, content.ids, content.colors, strict=True
        ):
            class_id = find_name(given.name, labels.names)
            label = labels.labels[class_id]
            if published_id >= VOID_ID:
                raise ValueError(
                    f'class {given.name!r}: id must be 0 to {VOID_ID - 1}, got {published_id}'
                )
            if ids[class_id] is not None:
                raise ValueError(f'class {label.name!r} is listed twice')
            if given.is_thing != label.is_thing:
                kind = 'thing' if label.is_thing else 'stuff'
                raise ValueError(
                    f'class {given.name!r} of the model is {kind}; write kind: {kind}'
                )
            ids[class_id], colors[class_id] = published_id, color
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return LabelRemap(tuple(ids), tuple(colors), content.void_id)


def published_frame(frame: PanopticFrame, labels: LabelSet) -> PanopticFrame:
    """Return a frame with published ids in place of class ids.

    Args:
        frame: frame with the model's class ids.
        labels: the model's classes.

    Returns:
        `frame` itself without a remap, else one without the segments of classes that are not
        published.
    """
    if labels.remap is None:
        return frame
    remap = labels.remap
    if None in remap.ids:
        keep = np.array([published_id is not None for published_id in remap.ids])
        frame = keep_segments(frame, keep[frame.segments['class_id']])
    table = np.array([published_id or 0 for published_id in remap.ids], np.uint32)
    segments = frame.segments.copy()
    segments['class_id'] = table[segments['class_id']]
    return replace(frame, segments=segments, void_id=remap.void_id)
