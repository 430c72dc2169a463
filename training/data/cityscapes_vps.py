# SPDX-License-Identifier: Apache-2.0
"""Reader of Cityscapes-VPS (Kim et al., 2020): 500 videos of 30 frames, 6 of them labelled.

Layout as its scripts write it: `panoptic_gt_<split>_city_vps.json`, its PNGs in
`<split>/panoptic_video/`, whose ids are constant within a video, images in `<split>/img/` or
`img_all/`. File names begin with the numbers of video and frame: `0005_0025_frankfurt_...`.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.coco_format import Annotation

from .cityscapes import LABELS
from .panoptic_json import PanopticJson


class CityscapesVps(PanopticJson):
    """One split of Cityscapes-VPS; instance ids are track ids.

    Args:
        folder: holds JSON files and a folder for each split.
        split: `train`, `val` or `test`.

    Raises:
        FileNotFoundError: if the JSON file is missing.
        ValueError: if it is not in COCO's panoptic format.
    """

    name = 'cityscapes_vps'
    help = 'Cityscapes-VPS, video with track ids'
    marks = ('*_city_vps.json',)
    splits = ('train', 'val', 'test')
    labels = LABELS
    """The classes of Cityscapes; an instance has those of its JSON file, in the file's order."""

    def __init__(self, folder: Path, split: str) -> None:
        base = Path(folder) / split
        images = base / 'img' if (base / 'img').is_dir() else base / 'img_all'
        super().__init__(
            Path(folder) / f'panoptic_gt_{split}_city_vps.json', base / 'panoptic_video', images
        )
        together = sorted(
            zip(self.pairs, self.annotations, strict=True), key=lambda both: both[0].image.name
        )  # clips in time order
        self.pairs, self.annotations = (list(x) for x in zip(*together, strict=True))
        # Ids of 24 bits exceed what `pack` of a sample holds; few of them occur.
        self.tracks = np.unique([i for a in self.annotations for i in a.category_of])

    def clip_of(self, annotation: Annotation) -> str:
        """Return the number of the video."""
        return annotation.path.name.partition('_')[0]

    def number_instances(
        self, segments: npt.NDArray[np.int64], counted: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.integer]:
        """See `PanopticJson.number_instances`; a segment id has the same number in all frames."""
        return np.where(counted, np.searchsorted(self.tracks, segments) + 1, 0)
