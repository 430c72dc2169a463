# SPDX-License-Identifier: Apache-2.0
"""Data set of frames whose labels are a model's predictions, to be corrected by people.

A split has the layout of own data in COCO's panoptic format, which `panoptic data check` and
`panoptic train` read, and `instances_<split>.json` with the things as COCO instances, which CVAT
imports.
"""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.coco_format import categories, segments_info
from panoptic_ros.core.files import write_bytes, write_json
from panoptic_ros.core.frame import PanopticFrame, without_unknown
from panoptic_ros.core.id_png import write_png
from panoptic_ros.core.image import encode_jpeg
from panoptic_ros.core.image_frame import at_camera
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.mining.sources import NAME as SOURCES
from panoptic_ros.mining.sources import Sources, read_sources

JPEG_QUALITY = 95

TOLERANCE_PX = 0.75
"""Largest distance of a polygon from the border of its mask."""


class _Written(NamedTuple):
    """Image of the data set with its segments."""

    size: tuple[int, int]
    segments: list[dict[str, Any]]
    polygons: dict[int, list[list[float]]]
    """By segment id, of things."""
    files: tuple[Path, ...]


class PrelabelWriter:
    """Writer of one split.

    Args:
        folder: an existing folder.
        split: name of the split.
        labels: the model's classes, without the one for withheld classes.
    """

    def __init__(self, folder: Path, split: str, labels: LabelSet) -> None:
        self.folder, self.split, self.labels = folder, split, labels
        self.images, self.masks = folder / split, folder / f'panoptic_{split}'
        for path in (self.images, self.masks):
            path.mkdir()
        self._written: dict[str, _Written] = {}

    def add(self, stem: str, image: npt.NDArray[np.uint8], frame: PanopticFrame) -> None:
        """Write an image and the PNG of its segments.

        Args:
            stem: file name without suffix.
            image: (H, W, 3) RGB.
            frame: its prediction.
        """
        frame = at_camera(without_unknown(frame), self.labels)
        files = self.images / f'{stem}.jpg', self.masks / f'{stem}.png'
        write_bytes(encode_jpeg(image, JPEG_QUALITY), files[0])
        write_png(frame.segment_map, files[1])
        rows = frame.segments[frame.segments['is_thing'] == 1]
        self._written[stem] = _Written(
            (image.shape[0], image.shape[1]),
            segments_info(frame, self.labels),
            {
                int(row['segment_id']): outline(frame.segment_map == row['segment_id'])
                for row in rows
            },
            files,
        )

    def bytes_of(self, stem: str) -> int:
        """Return the size of an image's files."""
        return sum(path.stat().st_size for path in self._written[stem].files)

    def remove(self, stem: str) -> None:
        """Remove an image and its labels."""
        for path in self._written.pop(stem).files:
            path.unlink()

    def finish(self) -> None:
        """Write the JSON files, whose images are numbered from 1."""
        images, panoptic = [], []
        instances: list[dict[str, Any]] = []
        for number, (stem, one) in enumerate(self._written.items(), 1):
            images.append(
                {
                    'id': number,
                    'file_name': f'{stem}.jpg',
                    'height': one.size[0],
                    'width': one.size[1],
                }
            )
            panoptic.append(
                {'image_id': number, 'file_name': f'{stem}.png', 'segments_info': one.segments}
            )
            instances += [
                {
                    'id': len(instances) + i,
                    'image_id': number,
                    'category_id': segment['category_id'],
                    'segmentation': one.polygons[segment['id']],
                    'area': segment['area'],
                    'bbox': segment['bbox'],
                    'iscrowd': 0,
                }
                for i, segment in enumerate(
                    (s for s in one.segments if one.polygons.get(s['id'])), 1
                )
            ]
        known = categories(self.labels)
        things = [
            {'id': one['id'], 'name': one['name'], 'supercategory': ''}
            for one in known
            if one['isthing']
        ]
        write_json(
            {'images': images, 'annotations': panoptic, 'categories': known},
            self.folder / f'{self.split}.json',
            indent=None,
        )
        write_json(
            {'images': images, 'annotations': instances, 'categories': things},
            self.folder / f'instances_{self.split}.json',
            indent=None,
        )


def names_of_split(split: str) -> tuple[str, ...]:
    """Return the files and folders of a split."""
    return f'{split}.json', split, f'panoptic_{split}', f'instances_{split}.json'


def earlier_sources(folder: Path) -> Sources:
    """Return the sources of a data set that exists, none if it has none."""
    return read_sources(folder) if (folder / SOURCES).is_file() else Sources()


def outline(mask: npt.NDArray[np.bool_]) -> list[list[float]]:
    """Return the outer borders of a mask, (H, W), as polygons x, y, x, y, ... in px.

    Holes are filled. Polygons run along the edges of pixels, a pixel at (x, y) spans x to x + 1,
    and are simplified by less than a pixel.
    """
    large = np.kron(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    found, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for border in found:
        simple = cv2.approxPolyDP(border, 3 * TOLERANCE_PX, True)[:, 0]
        if len(simple) >= 3:
            polygons.append(((simple + 0.5) / 3).round(2).ravel().tolist())
    return polygons
