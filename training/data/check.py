# SPDX-License-Identifier: Apache-2.0
"""Looks at every file of a data set and says what is wrong, before a training meets it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID, LabelSet

from ..checkpoint import read_checkpoint
from .class_table import require_same_classes
from .files import FileReader, fault_of
from .sample import Reader, Sample
from .skipping import listing

TINY_PX = 16
"""Segments below this are less than one cell of the maps that most losses see (stride 4)."""

MOSTLY = 0.9
"""Images of which more than this is unlabelled are named."""


class SampleCounts(NamedTuple):
    """What one sample is like."""

    size: tuple[int, int]
    pixels: npt.NDArray[np.int64]
    """(256,) by class id."""
    segments: npt.NDArray[np.int64]
    """(256,) by class id; a crowd is one."""
    instances: npt.NDArray[np.int64]
    """(256,) those of them that are single objects."""
    tiny: int
    """Segments of less than TINY_PX."""


def count_sample(sample: Sample) -> SampleCounts:
    """Counts pixels and segments."""
    values, areas = np.unique(
        sample.instance_map.astype(np.int64) << 8 | sample.class_map, return_counts=True
    )
    classes, labelled = values & 255, values & 255 != VOID_ID
    return SampleCounts(
        sample.class_map.shape,
        np.bincount(classes, areas, minlength=256).astype(np.int64),
        np.bincount(classes[labelled], minlength=256),
        np.bincount(classes[labelled & (values > 255)], minlength=256),
        int((areas[labelled] < TINY_PX).sum()),
    )


@dataclass
class SplitReport:
    """What was found in one split."""

    split: str
    labels: LabelSet
    samples: int
    """That were read."""
    total: int
    errors: list[str] = field(default_factory=list)
    """Each names its file."""
    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    segments: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    instances: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    images: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """Images in which each class occurs."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    tiny: list[str] = field(default_factory=list)
    """Images with tiny segments."""
    tiny_segments: int = 0
    unlabelled: list[str] = field(default_factory=list)
    """Images that are mostly unlabelled."""

    @property
    def unlabelled_share(self) -> float:
        """Part of all pixels that has no label; 0 without pixels."""
        return float(self.pixels[VOID_ID] / max(self.pixels.sum(), 1))

    def add(self, name: str, found: SampleCounts) -> None:
        """Adds a sample that could be read."""
        self.pixels += found.pixels
        self.segments += found.segments
        self.instances += found.instances
        self.images += found.segments > 0
        self.sizes[found.size] += 1
        self.tiny_segments += found.tiny
        if found.tiny:
            self.tiny.append(name)
        if found.pixels[VOID_ID] > MOSTLY * found.pixels.sum():
            self.unlabelled.append(name)

    @property
    def warnings(self) -> list[str]:
        """What may be meant so, and often is not."""
        said = []
        absent = [name for name, n in zip(self.labels.names, self.segments, strict=False) if not n]
        if absent and self.samples > len(self.errors):
            said.append(
                f'{len(absent)} of {len(self.labels)} classes do not occur: {listing(absent)}'
            )
        crowds = [
            label.name
            for i, label in enumerate(self.labels.labels)
            if label.is_thing and self.segments[i] and not self.instances[i]
        ]
        if crowds:
            said.append(
                'all segments of these things are crowds, so there is no instance to '
                f'learn: {listing(crowds)}'
            )
        if self.unlabelled:
            said.append(
                f'{len(self.unlabelled)} images are unlabelled to more than '
                f'{MOSTLY:.0%}: {listing(self.unlabelled)}'
            )
        if self.tiny:
            said.append(
                f'{self.tiny_segments} segments have less than {TINY_PX} px: {listing(self.tiny)}'
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            'samples': self.samples,
            'total': self.total,
            'errors': self.errors,
            'warnings': self.warnings,
            'sizes': {f'{h}x{w}': n for (h, w), n in self.sizes.most_common()},
            'unlabelled_share': self.unlabelled_share,
            'tiny_segments': self.tiny_segments,
            'classes': [
                {
                    'name': label.name,
                    'is_thing': label.is_thing,
                    'images': int(self.images[i]),
                    'segments': int(self.segments[i]),
                    'pixels': int(self.pixels[i]),
                }
                for i, label in enumerate(self.labels.labels)
            ],
        }


def check_split(
    reader: Reader, split: str, limit: int | None = None, threads: int | None = None
) -> tuple[SplitReport, Iterator[None]]:
    """Reads each sample of a split whole.

    Args:
        reader: of which nobody has looked at the files yet.
        split: its name.
        limit: only that many samples.
        threads: that read at the same time.

    Returns:
        the report, and an iterator that fills it, one step for each sample.
    """
    count = min(len(reader), limit or len(reader))
    report = SplitReport(split, reader.labels, count, len(reader))

    def steps() -> Iterator[None]:
        faults = reader.faults() if isinstance(reader, FileReader) else {}
        pool = ThreadPoolExecutor(threads)  # decoding releases the GIL
        try:
            for index, (fault, found) in enumerate(
                pool.map(
                    lambda i: (faults[i], None) if i in faults else _read(reader, i), range(count)
                )
            ):
                if fault is not None:
                    report.errors.append(fault)
                elif found is not None:
                    report.add(name_of_sample(reader, index), found)
                yield
        finally:
            pool.shutdown(cancel_futures=True)

    return report, steps()


def check_recipe(
    recipe: Mapping[str, Any], reports: Mapping[str, SplitReport]
) -> tuple[list[str], list[str]]:
    """What a recipe asks of its data and of the weights it starts from.

    Args:
        recipe: as its YAML file has it.
        reports: of the splits.

    Returns:
        errors, and warnings.
    """
    errors, warnings = [], []
    data, model = recipe.get('data') or {}, recipe.get('model') or {}
    if not isinstance(data, Mapping) or not isinstance(model, Mapping):
        raise ValueError('data and model of the recipe must be settings by name')
    batch_size, weights = data.get('batch_size', 8), model.get('init_weights')
    if type(batch_size) is not int or not isinstance(weights, str | None):
        raise ValueError(
            'data.batch_size must be a whole number and model.init_weights a file, '
            f'got {batch_size!r} and {weights!r}'
        )
    train = reports.get('train')
    if train is not None and (good := train.total - len(train.errors)) < batch_size:
        errors.append(
            f'data.batch_size {batch_size} is more than the {good} good training samples'
        )
    if weights and not Path(weights).is_file():
        errors.append(f'model.init_weights: no file {weights}')
    elif weights and train is not None and Path(weights).suffix == '.ckpt':
        theirs = LabelSet.from_dicts(read_checkpoint(Path(weights))['hyper_parameters']['labels'])
        if fault := fault_of(
            lambda: require_same_classes(theirs, str(weights), train.labels, 'the data')
        ):
            warnings.append(f'{fault}; layers of other shapes start afresh')
    return errors, warnings


def name_of_sample(reader: Reader, index: int) -> str:
    """The image's file name, or its number where it is made up."""
    return reader.pairs[index].image.name if isinstance(reader, FileReader) else f'#{index}'


def compare_splits(reports: Mapping[str, SplitReport]) -> tuple[list[str], list[str]]:
    """Errors and warnings about splits that do not go together."""
    train, val = reports.get('train'), reports.get('val')
    if train is None or val is None:
        return [], []
    if fault := fault_of(lambda: require_same_classes(train.labels, 'train', val.labels, 'val')):
        return [fault], []
    new = [
        name
        for name, here, there in zip(
            train.labels.names, train.segments, val.segments, strict=False
        )
        if there and not here
    ]
    return [], (
        [f'{len(new)} classes occur in val and not in train: {listing(new)}'] if new else []
    )


def _read(reader: Reader, index: int) -> tuple[str | None, SampleCounts | None]:
    found: list[SampleCounts] = []
    fault = fault_of(lambda: found.append(count_sample(reader.read(index, 0))))
    return fault, found[0] if found else None
