# SPDX-License-Identifier: Apache-2.0
"""Pictures with captions: an image, its ground truth and a prediction side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.captions import DARK, draw_caption, shorten, style_for
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.image_frame import make_frame
from panoptic_ros.core.label_frame import frame_of_labels
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.legend import draw_legend
from panoptic_ros.core.overlay import draw_overlay

from ..data.sample import Sample

Rgb = npt.NDArray[np.uint8]


def draw_panels(
    sample: Sample, frame: PanopticFrame, labels: LabelSet, width: int, title: str = ''
) -> Rgb:
    """Draw image, ground truth and prediction side by side, with captions and a legend.

    Args:
        sample: image and labels.
        frame: the prediction.
        labels: names and colours.
        width: width of a panel, px, to which the image is scaled.
        title: text above all.

    Returns:
        (H, 3 width, 3) RGB.
    """
    size = max(1, round(sample.image.shape[0] * width / sample.image.shape[1])), width
    image = fit(sample.image, size)
    truth, predicted = frame_of_truth(sample, labels, size), frame_at(frame, labels, size)
    panels = {
        'image': image,
        'ground truth': paint(image, truth, labels),
        'prediction': paint(image, predicted, labels),
    }
    return stack_panels([panels], title, labels, classes_of(truth, predicted))


def frame_of_truth(sample: Sample, labels: LabelSet, size: tuple[int, int]) -> PanopticFrame:
    """Return a sample's labels as a frame, scaled to (height, width)."""
    return frame_of_labels(
        nearest(sample.class_map, size), nearest(sample.instance_map, size), labels
    )


def frame_at(frame: PanopticFrame, labels: LabelSet, size: tuple[int, int]) -> PanopticFrame:
    """Return a prediction as a frame, scaled to (height, width)."""
    return make_frame(
        nearest(frame.geometry.to_camera(frame.segment_map), size),
        frame.class_of_segment,
        labels,
        track_id=frame.segments['track_id'],
    )


def paint(image: Rgb, frame: PanopticFrame, labels: LabelSet) -> Rgb:
    """Draw a frame of the image's size over it, with the names of things and stuff."""
    return draw_overlay(CameraImage(image, 'rgb'), frame, labels, legend=False, stuff_names=True)


def classes_of(*frames: PanopticFrame) -> list[int]:
    """Return the ids of the classes that occur in frames, in order."""
    return sorted({int(i) for frame in frames for i in frame.segments['class_id']})


def stack_panels(
    rows: Sequence[Mapping[str, Rgb]],
    title: str = '',
    labels: LabelSet | None = None,
    class_ids: Iterable[int] = (),
) -> Rgb:
    """Put captioned pictures of one size next to each other, under a title and over a legend.

    Args:
        rows: rows of pictures by caption.
        title: text above all; empty: none.
        labels: names and colours for the legend; None draws no legend.
        class_ids: classes in the legend.

    Returns:
        (H, W, 3) RGB.
    """
    (height, width), count = next(iter(rows[0].values())).shape[:2], max(map(len, rows))
    style = style_for(2 * height, 2 * width)  # as if for two, since viewers shrink wide pictures
    parts = [draw_caption(title, count * width, style)] if title else []
    for row in rows:
        cells = [
            np.vstack([draw_caption(shorten(text, width, style), width, style), one])
            for text, one in row.items()
        ]
        parts.append(_tiled(cells, count * width))
    if labels is not None:
        legend = draw_legend(labels, class_ids, count * width, style)
        if len(legend):
            parts.append(_tiled([legend], count * width))
    return np.vstack(parts)


def fit(image: Rgb, size: tuple[int, int]) -> Rgb:
    """Scale an image to (height, width)."""
    is_smaller = size[0] < image.shape[0]
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


def nearest(id_map: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Scale a map of ids of any type to (height, width)."""
    y, x = (
        ((np.arange(n) + 0.5) * old / n).astype(int)
        for n, old in zip(size, id_map.shape, strict=True)
    )
    return id_map[y[:, None], x]


def _tiled(pictures: Sequence[Rgb], width: int) -> Rgb:
    """Put pictures next to each other and fill the rest up to a width."""
    height = max(len(one) for one in pictures)
    tiled = np.full((height, width, 3), DARK, np.uint8)
    x = 0
    for one in pictures:
        tiled[: len(one), x : x + one.shape[1]] = one
        x += one.shape[1]
    return tiled
