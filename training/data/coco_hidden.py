"""What COCO's instance annotations, which overlap, know beyond its panoptic ones, which do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.metrics.coco import read_json

SHARE = 0.5
"""An annotation belongs to a panoptic instance of which it covers more than this."""


class Outline(NamedTuple):
    """One annotated object that is no crowd."""

    category_id: int
    polygons: list[list[float]]


class Outlines:
    """The objects of each image of `instances_<split>2017.json`.

    Args:
        path: of the JSON file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is not in COCO's format for instances.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f'hidden parts of instances are read from {path}, which is '
                                    'not there')
        self.of_image: dict[Any, list[Outline]] = {}
        try:
            for annotation in read_json(path)['annotations']:
                if isinstance(annotation['segmentation'], list):  # crowds are run lengths
                    self.of_image.setdefault(annotation['image_id'], []).append(
                        Outline(annotation['category_id'], annotation['segmentation']))
        except (KeyError, TypeError) as error:
            raise ValueError(f'{path} is not in COCO\'s format for instances: '
                             f'{error!r}') from None

    def hidden_map(self, image_id: Any, instance_map: npt.NDArray[np.int32],
                   category_of: dict[int, int]) -> npt.NDArray[np.int32]:
        """(H, W) id of the instance that an annotation says goes on under the one seen, else 0.

        Panoptic instances and annotations have no common number; an instance takes the
        annotation of its category that fits it best. Where several go on, it is the smallest.

        Args:
            image_id: of the image.
            instance_map: ids of the panoptic instances, 0 for none, (H, W).
            category_of: category of each of these ids.
        """
        outlines = self.of_image.get(image_id, [])
        masks = [fill(outline.polygons, instance_map.shape) for outline in outlines]
        own: list[tuple[int, npt.NDArray[np.bool_]]] = []
        for i, category in category_of.items():
            seen = instance_map == i
            fits = [((seen & mask).sum() / max((seen | mask).sum(), 1), mask)
                    for outline, mask in zip(outlines, masks, strict=True)
                    if outline.category_id == category
                    and (seen & mask).sum() > SHARE * seen.sum()]
            if fits:
                own.append((i, max(fits, key=lambda fit: fit[0])[1]))
        hidden = np.zeros(instance_map.shape, np.int32)
        for i, mask in sorted(own, key=lambda pair: -int(pair[1].sum())):
            hidden[mask & (instance_map > 0) & (instance_map != i)] = i
        return hidden


def fill(polygons: list[list[float]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels whose centres lie in polygons x, y, x, y, ..., (H, W).

    OpenCV fills the pixels that a border touches as well, which would let neighbours overlap:
    filled three times as large, the border is a third of a pixel.
    """
    large = np.zeros((3 * shape[0], 3 * shape[1]), np.uint8)
    for polygon in polygons:
        points = np.rint(3 * np.asarray(polygon, np.float64).reshape(-1, 1, 2) - 0.5)
        cv2.fillPoly(large, [points.astype(np.int32)], (1,))
    return large[1::3, 1::3].astype(bool)
