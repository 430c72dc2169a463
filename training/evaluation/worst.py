# SPDX-License-Identifier: Apache-2.0
"""Pictures of the images with the lowest PQ: image, ground truth and prediction."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.image import encode_jpeg
from panoptic_ros.metrics.panoptic import PanopticResult

from .panels import draw_panels
from .predictions import png_names
from .run import Evaluation

PANEL_WIDTH = 800
"""Width to which images are scaled, px, so that names are legible."""

JPEG_QUALITY = 90

Picture = tuple[str, npt.NDArray[np.uint8]]
"""Name of an image, and RGB."""


def write_worst(evaluation: Evaluation, n: int, folder: Path, own_colors: bool = False) -> None:
    """Write the n worst images, the worst first, and remove earlier pictures.

    Args:
        evaluation: the finished evaluation.
        n: most pictures.
        folder: is created if it does not exist.
        own_colors: see `LabelSet.own_colors`.
    """
    names = evaluation.reader.image_names
    labels = replace(evaluation.reader.labels, own_colors=own_colors)

    def pictures() -> Iterator[Picture]:
        for image in evaluation.worst(n):
            sample, frame = evaluation.read_again(image.index)
            name = names[image.index]
            title = '; '.join([f'{name}: PQ {image.pq:.1f}', *faults(image.result)])
            yield name, draw_panels(sample, frame, labels, PANEL_WIDTH, title)

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
        write_bytes(encode_jpeg(picture, JPEG_QUALITY), path)
        written.add(path)
    for path in folder.glob('[0-9][0-9]_*.jpg'):
        if path not in written:
            path.unlink()


def faults(result: PanopticResult) -> list[str]:
    """Return the missed and the wrong segments in words, nothing if there are none."""
    parts = []
    for what, counts in (('missed', result.fn), ('wrong', result.fp)):
        of = [
            f'{counts[i]} {result.labels.names[i]}'
            for i in np.argsort(-counts, kind='stable')
            if counts[i]
        ]
        if of:
            parts.append(f'{what}: {", ".join(of)}')
    return parts
