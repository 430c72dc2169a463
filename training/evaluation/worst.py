# SPDX-License-Identifier: Apache-2.0
"""Pictures of the images with the lowest PQ: image, ground truth and prediction."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.overlay import draw_overlay
from panoptic_ros.metrics.panoptic import PanopticResult

from ..data.sample import Sample
from .frames import gt_frame, make_frame
from .predictions import png_names
from .run import Evaluation

PANEL_WIDTH = 800
"""Width to which images are scaled, px, so that names are legible."""

STRIP = 26
"""Height of a line of text, px."""

FONT = cv2.FONT_HERSHEY_SIMPLEX

Picture = tuple[str, npt.NDArray[np.uint8]]
"""Name of an image, and RGB."""

NAMED_AREA = 0.01
"""Smallest fraction of the picture for which stuff gets its name."""


def write_worst(evaluation: Evaluation, n: int, folder: Path) -> None:
    """Write the n worst images, the worst first, and remove earlier pictures."""
    names, labels = evaluation.reader.image_names, evaluation.reader.labels

    def pictures() -> Iterator[Picture]:
        for image in evaluation.worst(n):
            sample, frame = evaluation.read_again(image.index)
            name = names[image.index]
            yield (
                name,
                draw(
                    sample, frame, labels, f'{name}   PQ {image.pq:.1f}   {faults(image.result)}'
                ),
            )

    write_pictures(pictures(), folder)


def write_pictures(pictures: Iterable[Picture], folder: Path) -> None:
    """Write numbered pictures of images and remove earlier ones.

    Args:
        pictures: any number.
        folder: is created if it does not exist.
    """
    folder.mkdir(exist_ok=True)
    written = set()
    for rank, (name, picture) in enumerate(pictures, 1):
        path = folder / f'{rank:02d}_{Path(*png_names([name])).stem}.jpg'
        done, data = cv2.imencode(
            '.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
        )
        assert done
        write_bytes(data.tobytes(), path)
        written.add(path)
    for path in folder.glob('[0-9][0-9]_*.jpg'):
        if path not in written:
            path.unlink()


def faults(result: PanopticResult) -> str:
    """Return the missed and the wrong segments in words."""
    parts = []
    for what, counts in (('missed', result.fn), ('wrong', result.fp)):
        of = [
            f'{counts[i]} {result.labels.names[i]}'
            for i in np.argsort(-counts, kind='stable')
            if counts[i]
        ]
        if of:
            parts.append(f'{what}: {", ".join(of)}')
    return '   '.join(parts)


def draw(
    sample: Sample, frame: PanopticFrame, labels: LabelSet, title: str
) -> npt.NDArray[np.uint8]:
    """Draw image, ground truth and prediction side by side under a title, RGB.

    Args:
        sample: image and labels.
        frame: the prediction at the image's resolution.
        labels: names and colours.
        title: one line.
    """
    height = round(sample.image.shape[0] * PANEL_WIDTH / sample.image.shape[1])
    image = np.asarray(
        cv2.resize(sample.image, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8
    )
    panels = [image, *(_named(image, f, labels) for f in (gt_frame(sample, labels), frame))]
    for panel, caption in zip(panels, ('image', 'ground truth', 'prediction'), strict=True):
        _write(panel, caption, 6, 18)
    strip = np.zeros((STRIP, len(panels) * PANEL_WIDTH, 3), np.uint8)
    _write(strip, title, 6, 18)
    return np.vstack([strip, np.hstack(panels)])


def _named(
    image: npt.NDArray[np.uint8], frame: PanopticFrame, labels: LabelSet
) -> npt.NDArray[np.uint8]:
    """Draw a frame over a scaled image, with the names of things and stuff."""
    size = image.shape[1], image.shape[0]
    small = cv2.resize(frame.segment_map, size, interpolation=cv2.INTER_NEAREST)
    frame = make_frame(small, frame.class_of_segment, labels, track_id=frame.segments['track_id'])
    picture = draw_overlay(CameraImage(image, 'rgb'), frame, labels)
    for row in frame.segments[frame.segments['is_thing'] == 0]:
        if row['area'] < NAMED_AREA * small.size:
            continue
        mask = np.pad((frame.segment_map == row['segment_id']).view(np.uint8), 1)
        depth = cv2.distanceTransform(mask, cv2.DIST_L1, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)  # furthest from its edge
        text = labels.names[row['class_id']]
        (width, height), _ = cv2.getTextSize(text, FONT, 0.45, 1)
        _write(picture, text, int(x) - width // 2, int(y) + height // 2)
    return picture


def _write(picture: npt.NDArray[np.uint8], text: str, x: int, y: int) -> None:
    for shift, shade in ((1, (0, 0, 0)), (0, (255, 255, 255))):
        cv2.putText(picture, text, (x + shift, y + shift), FONT, 0.45, shade, 1, cv2.LINE_AA)
