# SPDX-License-Identifier: Apache-2.0
"""Ground truth of the images of a recording, from a topic of the bag or a folder of PNGs.

Both encode a pixel as `class_id * label_divisor + track_id`, like `panoptic score-video`. Track
ids are constant over the clip; 0 stands for stuff, or on a thing for a crowd, which need not be
detected. A folder holds `<stamp in ns>.png` (R + 256 G + 65536 B; void is class 255 or white) and
its classes in the class file `classes.yaml`, see `panoptic_ros.core.class_file`. A topic has its
classes as JSON: `label_divisor: 1000`, and `labels:` with name, is_thing and color by class id.

Ground truth belongs to the images with its stamp. If several images share a stamp, each is
compared with the ground truth of that stamp that was recorded nearest to it.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from panoptic_ros.core.class_file import read_class_file
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.video_files import read_frame
from panoptic_ros.recordings.recording import Recording
from panoptic_ros.replay.ground_truth_classes import ClassTranslation, GroundTruthMaps
from panoptic_ros.replay.ground_truth_topic import TopicGroundTruth

logger = logging.getLogger(__name__)

CLASSES_FILE, EARLIER_CLASSES_FILE = 'classes.yaml', 'labels.yaml'
"""Name of the class file in a folder; the earlier name is still read in this release."""


class GroundTruth(Protocol):
    """Ground truth by stamp; fastest for images in the order of their recording."""

    name: str
    """Description for messages to the user."""

    def stamps(self) -> set[int]:
        """Return the header stamps, ns, of the images with ground truth."""

    def at(self, stamp_ns: int, recorded_ns: int = 0) -> GroundTruthMaps | None:
        """Return the ground truth of one image; None if there is none.

        Args:
            stamp_ns: header stamp of the image.
            recorded_ns: time of its recording, which selects among several with one stamp.

        Raises:
            ValueError: if the ground truth cannot be read.
        """


class FolderGroundTruth:
    """Ground truth in a folder of PNGs."""

    def __init__(self, folder: Path, labels: LabelSet) -> None:
        """Read the classes and the names of the files.

        Raises:
            FileNotFoundError: if the folder has no file of classes.
            ValueError: if it holds no PNG named by a stamp, or its classes are not those of the
                model.
        """
        self.name = f'folder {folder}'
        names = CLASSES_FILE, EARLIER_CLASSES_FILE
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is None:
            raise FileNotFoundError(
                f'{folder} has no {CLASSES_FILE}, which names the classes of its PNGs'
            )
        if file.name == EARLIER_CLASSES_FILE:
            logger.warning(
                '%s has the name of an earlier version; rename it %s', file, CLASSES_FILE
            )
        self._class_file = read_class_file(file)
        self._classes = ClassTranslation(self._class_file.labels, labels, str(file))
        self._files = {
            int(path.stem): path for path in folder.glob('*.png') if path.stem.isdecimal()
        }
        if not self._files:
            raise ValueError(
                f'{folder} has no PNG that is named by a stamp in ns: 1317000000000000000.png'
            )

    def stamps(self) -> set[int]:
        """See `GroundTruth`."""
        return set(self._files)

    def at(self, stamp_ns: int, recorded_ns: int = 0) -> GroundTruthMaps | None:
        """See `GroundTruth`."""
        path = self._files.get(stamp_ns)
        if path is None:
            return None
        return self._classes.translate(*read_frame(path, self._class_file))


def open_ground_truth(name: str, recording: Recording, labels: LabelSet) -> GroundTruth:
    """Open ground truth on a topic of the bag, or in a folder if there is no such topic.

    Raises:
        FileNotFoundError: if the folder has no file of classes.
        ValueError: if `name` is neither a topic nor a folder, or the ground truth cannot be used.
    """
    if name in recording.topics:
        return TopicGroundTruth(recording, name, labels)
    if Path(name).is_dir():
        return FolderGroundTruth(Path(name), labels)
    raise ValueError(
        f'ground truth {name} is neither a folder nor a topic of the bag; the '
        f'topics are: {", ".join(sorted(recording.topics))}'
    )


def check_gt_stamps(gt: GroundTruth, image_stamps: Collection[int]) -> int:
    """Check that ground truth and images have a stamp in common.

    Args:
        gt: the ground truth.
        image_stamps: header stamps of the images, ns.

    Returns:
        Number of the ground truth's stamps without an image.

    Raises:
        ValueError: if no stamp is in both.
    """
    gt_stamps, images = gt.stamps(), set(image_stamps)
    if not gt_stamps & images:
        raise ValueError(
            f'no stamp of the ground truth ({gt.name}) is that of an image: it has '
            f'{_span(gt_stamps)}, the images {_span(images)}'
        )
    return len(gt_stamps - images)


def _span(stamps: set[int]) -> str:
    if not stamps:
        return 'none'
    return f'{len(stamps)} from {min(stamps)} to {max(stamps)} ns'
