"""COCO's instance annotations as panoptic labels: polygons and run lengths, which may overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.labels import VOID_ID, Label, LabelSet
from panoptic_ros.metrics.coco import read_json

from .coco_hidden import fill
from .files import FileReader, Maps, Pair, fault_of, image_size
from .folder import distinct_color

BACKGROUND_COLOR = (96, 96, 96)


class Polygons(FileReader):
    """The images of a COCO instances JSON.

    Where annotations overlap, the smaller one lies on top; crowds lie below all others. Pixels
    that nothing covers are void, or of a stuff class for the background.

    Args:
        path: of the JSON file.
        images: the folder of the images.
        background: name of that class.

    Raises:
        FileNotFoundError, ValueError: if the file is missing or not in COCO's instance format.
    """

    def __init__(self, path: Path, images: Path, background: str | None = None) -> None:
        document = read_json(path)
        try:
            labels = [Label(str(c['name']), True, distinct_color(i), int(c['id']))
                      for i, c in enumerate(document['categories'])]
            if background:
                labels.append(Label(background, False, BACKGROUND_COLOR,
                                    max((label.category_id for label in labels), default=0) + 1))
            self.labels = LabelSet(tuple(labels))
            self.background = len(labels) - 1 if background else VOID_ID
            self.entries = sorted(document['images'], key=lambda image: str(image['file_name']))
            pairs = [Pair(images / image['file_name'], path) for image in self.entries]
            self.of_image: dict[Any, list[dict[str, Any]]] = {}
            for annotation in document['annotations']:
                self.of_image.setdefault(annotation['image_id'], []).append(annotation)
            unknown = self.of_image.keys() - {image['id'] for image in self.entries}
        except (KeyError, TypeError) as error:
            raise ValueError(f'{path} is not in COCO\'s format for instances: '
                             f'{error!r}') from None
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None
        if unknown:
            raise ValueError(f'{path}: image {next(iter(unknown))} is annotated and not listed in '
                             f'`images` ({len(unknown)} such)')
        self.lost = 0
        """Instances of which no pixel is seen, in the images read so far."""
        super().__init__(pairs, path)

    def faults(self) -> dict[int, str]:
        """By index, what headers and annotations tell is wrong."""
        return {i: fault for i in range(len(self))
                if (fault := fault_of(lambda i=i: self._check(i)))}  # type: ignore[misc]

    def read_labels(self, index: int) -> Maps:
        """Classes and instances, drawn from the largest to the smallest.

        Raises:
            ValueError: for a segmentation that cannot be drawn.
        """
        entry, where = self.entries[index], self.pairs[index].labels
        shape = (int(entry['height']), int(entry['width']))
        class_map = np.full(shape, self.background, np.uint8)
        instance_map = np.zeros(shape, np.int32)
        drawn = []
        for number, annotation in enumerate(self.of_image.get(entry['id'], ()), 1):
            try:
                mask = mask_of(annotation['segmentation'], shape)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise ValueError(f'{where}: annotation {annotation.get("id")} of '
                                 f'{entry["file_name"]} cannot be drawn: {error}') from None
            crowd = bool(annotation.get('iscrowd', 0))
            drawn.append((not crowd, -int(mask.sum()), number, annotation['category_id'], mask))
        for whole, _, number, category, mask in sorted(drawn, key=lambda item: item[:3]):
            class_map[mask] = self.labels.class_id_of_category[category]
            instance_map[mask] = number if whole else 0
        seen = np.unique(instance_map[instance_map > 0])
        self.lost += sum(item[0] for item in drawn) - len(seen)
        return class_map, instance_map

    def _check(self, index: int) -> None:
        entry, path = self.entries[index], self.pairs[index].image
        size, said = image_size(path), (entry.get('height'), entry.get('width'))
        if size != said:
            raise ValueError(f'{path} is {size[0]} x {size[1]}, {self.pairs[index].labels} says '
                             f'{said[0]} x {said[1]}')
        for annotation in self.of_image.get(entry['id'], ()):
            if annotation.get('category_id') not in self.labels.class_id_of_category:
                raise ValueError(f'{path}: annotation {annotation.get("id")} has unknown '
                                 f'category_id {annotation.get("category_id")}')
            if 'segmentation' not in annotation:
                raise ValueError(f'{path}: annotation {annotation.get("id")} has no segmentation')


def mask_of(segmentation: Any, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) pixels of polygons, or of run lengths as numbers or in COCO's letters.

    Raises:
        ValueError: if run lengths do not fill the image.
    """
    if isinstance(segmentation, list):
        return fill(segmentation, shape)
    counts = segmentation['counts']
    runs = np.array(decode_counts(counts) if isinstance(counts, str) else counts, np.int64)
    if tuple(segmentation['size']) != shape or (runs < 0).any() or runs.sum() != np.prod(shape):
        raise ValueError(f'run lengths of {int(runs.sum())} px and size {segmentation["size"]} '
                         f'in an image of {shape[0]} x {shape[1]}')
    values = np.arange(len(runs)) % 2 == 1  # the first run is outside
    return np.repeat(values, runs).reshape(shape[::-1]).T  # by columns


def decode_counts(text: str) -> list[int]:
    """Run lengths from letters: five bits in each, the lowest first, bit 6 for more to come.

    From the fourth on, they are differences to the run before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode():
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
