# SPDX-License-Identifier: Apache-2.0
"""What COCO's instance annotations, which overlap, know beyond its panoptic ones, which do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.coco_format import read_json

from .instance_json import read_instance_annotations
from .outlines import Polygon, fill

SHARE = 0.5
"""An annotation belongs to a panoptic instance of which it covers more than this."""


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
            raise FileNotFoundError(
                f'hidden parts of instances are read from {path}, which is not there'
            )
        self.path = path
        self.of_image: dict[int | str, list[tuple[int, list[Polygon]]]] = {
            image_id: [
                (one.category_id, one.outline) for one in found if isinstance(one.outline, list)
            ]  # crowds are run lengths
            for image_id, found in read_instance_annotations(read_json(path), path).items()
        }
        """Category and polygons of each object."""

    def hidden_map(
        self, image_id: int | str, instance_map: npt.NDArray[np.int32], category_of: dict[int, int]
    ) -> npt.NDArray[np.int32]:
        """(H, W) id of the instance that an annotation says goes on under the one seen, else 0.

        Panoptic instances and annotations have no common number; an instance takes the
        annotation of its category that fits it best. Where several go on, it is the smallest.

        Args:
            image_id: of the image.
            instance_map: ids of the panoptic instances, 0 for none, (H, W).
            category_of: category of each of these ids.

        Raises:
            ValueError: if a polygon lies far outside the image.
        """
        outlines = self.of_image.get(image_id, [])
        try:
            masks = [fill(polygons, instance_map.shape) for _, polygons in outlines]
        except ValueError as error:
            raise ValueError(f'{self.path}: image {image_id}: {error}') from None
        own: list[tuple[int, npt.NDArray[np.bool_]]] = []
        for i, category in category_of.items():
            seen = instance_map == i
            fits = [
                ((seen & mask).sum() / max((seen | mask).sum(), 1), mask)
                for (kind, _), mask in zip(outlines, masks, strict=True)
                if kind == category and (seen & mask).sum() > SHARE * seen.sum()
            ]
            if fits:
                own.append((i, max(fits, key=lambda fit: fit[0])[1]))
        hidden = np.zeros(instance_map.shape, np.int32)
        for i, mask in sorted(own, key=lambda pair: -int(pair[1].sum())):
            hidden[mask & (instance_map > 0) & (instance_map != i)] = i
        return hidden
