# SPDX-License-Identifier: Apache-2.0
"""A data set in COCO's panoptic format that the tiny model can segment; see tiny_model.py."""

import json
from pathlib import Path

import cv2
import numpy as np
from tiny_model import LABELS, paint_scene

SIZE = (64, 128)


def true_ids(shift: int) -> np.ndarray:
    """Return the segment ids of `paint_scene`: 1 wall, 2 floor, 3 ball, 4 box, things shifted."""
    height, width = SIZE
    ids = np.ones(SIZE, np.uint32)
    ids[height // 2 :] = 2
    rows = slice(height // 4, height * 3 // 4)
    ids[rows, width // 8 + shift : width * 3 // 8 + shift] = 3
    ids[rows, width * 5 // 8 + shift : width * 7 // 8 + shift] = 4
    return ids


def write_ids(ids: np.ndarray, path: Path) -> None:
    cv2.imwrite(
        str(path), np.stack([ids >> 16 & 255, ids >> 8 & 255, ids & 255], axis=2).astype(np.uint8)
    )


def make_data(folder: Path, count: int = 4) -> Path:
    """Write `count` scenes; in scene i the labels are off by 2 * i pixels, so that scores fall."""
    for name in ('val', 'panoptic_val'):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        cv2.imwrite(str(folder / f'val/scene{i}.png'), paint_scene(*SIZE)[:, :, ::-1])
        write_ids(true_ids(2 * i % 16), folder / f'panoptic_val/scene{i}.png')
        images.append(
            {'id': 100 + i, 'file_name': f'scene{i}.png', 'height': SIZE[0], 'width': SIZE[1]}
        )
        annotations.append(
            {
                'image_id': 100 + i,
                'file_name': f'scene{i}.png',
                'segments_info': [
                    {'id': s, 'category_id': LABELS.labels[c].category_id, 'iscrowd': 0}
                    for s, c in ((1, 1), (2, 0), (3, 2), (4, 3))
                ],
            }
        )
    categories = [
        {
            'id': label.category_id,
            'name': label.name,
            'isthing': int(label.is_thing),
            'color': list(label.color),
        }
        for label in LABELS.labels
    ]
    (folder / 'val.json').write_text(
        json.dumps({'images': images, 'annotations': annotations, 'categories': categories})
    )
    return folder
