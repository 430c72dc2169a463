# SPDX-License-Identifier: Apache-2.0
"""Submission files for the servers of COCO and Cityscapes.

Both servers expect COCO's panoptic format in a zip file: `<name>.json` with the data set's own
image ids and category ids, and its PNGs in `<name>/`. Unpacked, panopticapi's evaluation.py and
cityscapesscripts' evalPanopticSemanticLabeling.py accept the same files.
"""

import json
import re
import zipfile
from pathlib import Path

from panoptic_ros.core.files import atomic_write

from .predictions import PredictionStore


def write_submission(
    store: PredictionStore, name: str, split: str, model: str, folder: Path
) -> Path | None:
    """Write the zip file, if the data set has a server and every image is predicted.

    Args:
        store: the predictions.
        name: of the JSON file and its folder; see `Reader.submission`.
        split: `val` or `test`.
        model: name of the model, for COCO.
        folder: folder of the file; it is created if it does not exist.

    Returns:
        The file, or None.
    """
    if not name or len(store.annotations) < len(store.ids):
        return None
    name = name.format(split=split, model=re.sub(r'\W', '-', model))
    annotations = [
        {
            'image_id': entry['image_id'],
            'file_name': entry['file_name'],
            'segments_info': [
                {'id': segment['id'], 'category_id': segment['category_id']}
                for segment in entry['segments_info']
            ],
        }
        for entry in (store.entries[image_id] for image_id in store.ids)
    ]
    path = folder / f'{name}.zip'
    folder.mkdir(exist_ok=True)
    # PNGs are compressed already.
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, 'w') as file:
        file.writestr(
            f'{name}.json', json.dumps({'annotations': annotations}), zipfile.ZIP_DEFLATED
        )
        for entry in annotations:
            file.write(store.pngs / entry['file_name'], f'{name}/{entry["file_name"]}')
    return path
