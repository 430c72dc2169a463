# SPDX-License-Identifier: Apache-2.0
"""Hidden parts of objects, from COCO's instance annotations, which may overlap."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.coco_format import read_json

from .outlines import Polygon, fill, read_instance_annotations
from .sample import HIDDEN_LAYERS

MIN_COVERAGE = 0.5
"""Share of a panoptic instance that an annotation must exceed to belong to it."""


class Outlines:
    """Outlines of the objects of each image in `instances_<split>2017.json`.

    Args:
        path: the JSON file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is not in COCO's instance format.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f'hidden parts of instances are read from {path}, which does not exist'
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
        """Return the ids of the instances that continue under the visible one, see `Sample`.

        Panoptic instances and annotations share no ids: an instance is matched with the
        annotation of its category that has the highest IoU with it. The order of hidden instances
        is not known: those with smaller masks come first.

        Args:
            image_id: id of the image in the JSON file.
            instance_map: ids of the panoptic instances, 0 for none, (H, W).
            category_of: category of each of these ids.

        Raises:
            ValueError: for a polygon far outside the image.
        """
        outlines = self.of_image.get(image_id, [])
        try:
            masks = [fill(polygons, instance_map.shape) for _, polygons in outlines]
        except ValueError as error:
            raise ValueError(f'{self.path}: image {image_id}: {error}') from None
        matched: list[tuple[int, npt.NDArray[np.bool_]]] = []
        for i, category in category_of.items():
            visible = instance_map == i
            candidates = [
                ((visible & mask).sum() / max((visible | mask).sum(), 1), mask)
                for (kind, _), mask in zip(outlines, masks, strict=True)
                if kind == category and (visible & mask).sum() > MIN_COVERAGE * visible.sum()
            ]
            if candidates:
                matched.append((i, max(candidates, key=lambda candidate: candidate[0])[1]))
        hidden = np.zeros((HIDDEN_LAYERS, *instance_map.shape), np.int32)
        for i, mask in sorted(matched, key=lambda pair: int(pair[1].sum())):
            below = mask & (instance_map > 0) & (instance_map != i)
            for layer in hidden:
                taken = layer > 0
                layer[below & ~taken] = i
                below &= taken
        return hidden
