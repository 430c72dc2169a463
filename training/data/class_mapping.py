# SPDX-License-Identifier: Apache-2.0
"""Reader of a data set in the classes of a model.

A class mapping is a YAML file with the model's class for each class of the data. Classes of the
data that map to null or are not listed become void:

    sky: sky
    tree: vegetation
    sign: null
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.core.text import did_you_mean, short

from .files import thing_table
from .sample import Reader, Sample


class MappedClasses:
    """Reader of the samples of another reader, with the classes of a model.

    Instances of a thing that maps to stuff lose their ids. Servers expect the data set's own
    classes, so there is no submission.

    Args:
        reader: the underlying reader.
        labels: classes of the model.
        mapping: model class by data class, from `read_class_mapping`; other classes become void.
    """

    submission = ''

    def __init__(self, reader: Reader, labels: LabelSet, mapping: Mapping[str, str]) -> None:
        self.reader, self.labels = reader, labels
        self.class_table = np.full(VOID_ID + 1, VOID_ID, np.uint8)
        for name, target in mapping.items():
            self.class_table[reader.labels.names.index(name)] = labels.names.index(target)
        self.is_thing = thing_table(labels)

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Clips of the underlying reader."""
        return self.reader.clips

    @property
    def image_ids(self) -> Sequence[int | str]:
        """Image ids of the underlying reader."""
        return self.reader.image_ids

    @property
    def image_names(self) -> Sequence[str]:
        """Names of the underlying reader."""
        return self.reader.image_names

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return the order of the underlying reader."""
        return self.reader.order(rng)

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Return sample `index` with mapped labels.

        Hidden parts remain for the instances that are still visible as things.
        """
        sample = self.reader.read(index, epoch_seed)
        class_map = self.class_table[sample.class_map]
        instance_map = np.where(self.is_thing[class_map], sample.instance_map, 0)
        hidden_map = sample.hidden_map
        if hidden_map is not None:
            hidden_map = np.where(np.isin(hidden_map, instance_map), hidden_map, 0)
        return Sample(sample.image, class_map, instance_map, hidden_map)


def read_class_mapping(path: Path, data: LabelSet, model: LabelSet) -> dict[str, str]:
    """Read a class mapping and return the model class of each data class that is not void.

    Args:
        path: a YAML file, see above.
        data: classes of the data.
        model: classes of the model.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: for a file that is not a mapping of names, an unknown class, stuff that maps
            to a thing, or a mapping that leaves no class.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} must hold lines `data class: model class`, e.g. `tree: vegetation`, '
            f'got {short(content)}'
        )
    mapping = {name: target for name, target in content.items() if target is not None}
    for owner, names, labels in (('data', content, data), ('model', mapping.values(), model)):
        for name in names:
            if name not in labels.names:
                raise ValueError(
                    f'{path}: the {owner} has no class {short(name)}'
                    f'{did_you_mean(str(name), labels.names)}; its classes are: '
                    f'{", ".join(labels.names)}'
                )
    if not mapping:
        raise ValueError(f'{path} maps no class of the data to one of the model')
    data_things, model_things = (
        {label.name for label in labels.labels if label.is_thing} for labels in (data, model)
    )
    for name, target in mapping.items():
        if target in model_things and name not in data_things:
            raise ValueError(
                f'{path}: {name!r} is stuff, so its pixels have no instances and cannot map to '
                f'the thing {target!r}'
            )
    return mapping
