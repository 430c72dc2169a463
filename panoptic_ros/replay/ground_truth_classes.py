# SPDX-License-Identifier: Apache-2.0
"""Ground truth of one image, and the translation of its classes to those of the model."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID, LabelSet


class GroundTruthMaps(NamedTuple):
    """Ground truth of one image, in the model's classes."""

    class_map: npt.NDArray[np.uint8]
    """(H, W) class id, VOID_ID = void."""

    track_map: npt.NDArray[np.int64]
    """(H, W) track id; 0 for stuff, void and crowds."""


class ClassTranslation:
    """Translation of the ground truth's class ids to the model's, by class name."""

    def __init__(self, gt_labels: LabelSet, labels: LabelSet, origin: str) -> None:
        """Build the table.

        Args:
            gt_labels: classes of the ground truth.
            labels: classes of the model.
            origin: file or topic that names the classes of the ground truth, for messages.

        Raises:
            ValueError: if the classes differ.
        """
        check_labels(gt_labels, labels, origin)
        self._origin, self._count = origin, len(gt_labels)
        self._class_id = np.full(VOID_ID + 1, VOID_ID, np.uint8)
        self._class_id[: len(gt_labels)] = labels.class_ids(gt_labels.names)
        self._is_thing = np.append(labels.is_thing, np.zeros(VOID_ID + 1 - len(labels), bool))

    def translate(
        self, class_map: npt.NDArray[Any], track_map: npt.NDArray[Any]
    ) -> GroundTruthMaps:
        """Translate the maps of one image, (H, W) each.

        Raises:
            ValueError: if they hold a class id that is neither a class nor void.
        """
        unknown = class_map[(class_map >= self._count) & (class_map != VOID_ID)]
        if unknown.size:
            raise ValueError(
                f'the ground truth holds class id {int(unknown[0])}; {self._origin} '
                f'names {self._count} classes'
            )
        translated = self._class_id[class_map]
        return GroundTruthMaps(
            translated, np.where(self._is_thing[translated], track_map, 0).astype(np.int64)
        )


def check_labels(gt_labels: LabelSet, labels: LabelSet, origin: str) -> None:
    """Check that ground truth and model have the same classes, in any order.

    Raises:
        ValueError: if they differ; the message names the classes that differ.
    """
    differences = []
    for owner, names in (
        ('the ground truth', set(gt_labels.names) - set(labels.names)),
        ('the model', set(labels.names) - set(gt_labels.names)),
    ):
        if names:
            differences.append(f'only {owner} has {", ".join(sorted(names))}')
    things = {label.name: label.is_thing for label in labels.labels}
    changed = [
        label.name
        for label in gt_labels.labels
        if things.get(label.name, label.is_thing) != label.is_thing
    ]
    if changed:
        differences.append(f'{", ".join(changed)} are things in one and stuff in the other')
    if differences:
        raise ValueError(
            f'{origin}: the ground truth has other classes than the model: '
            f'{"; ".join(differences)}'
        )
