# SPDX-License-Identifier: Apache-2.0
"""Check of a data set: faults of every file, statistics of classes, and warnings."""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.core.text import counted

from ..checkpoint import read_checkpoint
from .class_table import require_same_classes
from .files import FileReader, fault_of
from .sample import Reader, Sample
from .skipping import listing

TINY_PX = 16
"""Segments with fewer pixels are smaller than a cell of the maps of most losses (stride 4)."""

MOSTLY_UNLABELLED = 0.9
"""Unlabelled share above which an image is reported."""


class SampleCounts(NamedTuple):
    """Statistics of one sample."""

    size: tuple[int, int]
    """(height, width), px."""
    pixels: npt.NDArray[np.int64]
    """(256,) number of pixels by class id."""
    segments: npt.NDArray[np.int64]
    """(256,) number of segments by class id; a crowd counts as one."""
    instances: npt.NDArray[np.int64]
    """(256,) number of segments that are single objects."""
    tiny: int
    """Number of segments of less than TINY_PX."""


def count_sample(sample: Sample) -> SampleCounts:
    """Count pixels and segments of a sample."""
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
    """Result of the check of one split."""

    split: str
    labels: LabelSet
    samples: int
    """Number of checked samples."""
    total: int
    """Number of samples of the split."""
    errors: list[str] = field(default_factory=list)
    """Faults; each names its file."""
    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    segments: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    instances: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    images: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """Number of images in which each class occurs."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    tiny: list[str] = field(default_factory=list)
    """Images with tiny segments."""
    tiny_segments: int = 0
    unlabelled: list[str] = field(default_factory=list)
    """Images that are mostly unlabelled."""

    @property
    def unlabelled_share(self) -> float:
        """Share of unlabelled pixels; 0 without pixels."""
        return float(self.pixels[VOID_ID] / max(self.pixels.sum(), 1))

    def add(self, name: str, counts: SampleCounts) -> None:
        """Add the statistics of a sample."""
        self.pixels += counts.pixels
        self.segments += counts.segments
        self.instances += counts.instances
        self.images += counts.segments > 0
        self.sizes[counts.size] += 1
        self.tiny_segments += counts.tiny
        if counts.tiny:
            self.tiny.append(name)
        if counts.pixels[VOID_ID] > MOSTLY_UNLABELLED * counts.pixels.sum():
            self.unlabelled.append(name)

    @property
    def warnings(self) -> list[str]:
        """Findings that are valid, but often unintended."""
        warnings = []
        absent = [name for name, n in zip(self.labels.names, self.segments, strict=False) if not n]
        if absent and self.samples > len(self.errors):
            warnings.append(
                f'no segment of {len(absent)} of {len(self.labels)} classes: {listing(absent)}'
            )
        crowds = [
            label.name
            for i, label in enumerate(self.labels.labels)
            if label.is_thing and self.segments[i] and not self.instances[i]
        ]
        if crowds:
            warnings.append(
                'all segments of these things are crowds, so there is no instance to '
                f'learn: {listing(crowds)}'
            )
        if self.unlabelled:
            warnings.append(
                f'more than {MOSTLY_UNLABELLED:.0%} are unlabelled in '
                f'{counted(len(self.unlabelled), "image")}: {listing(self.unlabelled)}'
            )
        if self.tiny:
            warnings.append(
                f'less than {TINY_PX} px in {counted(self.tiny_segments, "segment")}: '
                f'{listing(self.tiny)}'
            )
        return warnings

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
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
    """Check each sample of a split by reading it completely.

    Args:
        reader: of the split, with unchecked files.
        split: its name.
        limit: largest number of samples.
        threads: number of threads that read.

    Returns:
        the report, and an iterator that fills it, one step per sample.
    """
    count = min(len(reader), limit or len(reader))
    report = SplitReport(split, reader.labels, count, len(reader))

    def steps() -> Iterator[None]:
        faults = reader.faults() if isinstance(reader, FileReader) else {}
        pool = ThreadPoolExecutor(threads)  # decoding releases the GIL
        try:
            for index, (fault, counts) in enumerate(
                pool.map(
                    lambda i: (faults[i], None) if i in faults else _read(reader, i), range(count)
                )
            ):
                if fault is not None:
                    report.errors.append(fault)
                elif counts is not None:
                    report.add(name_of_sample(reader, index), counts)
                yield
        finally:
            pool.shutdown(cancel_futures=True)

    return report, steps()


def check_recipe(
    recipe: Mapping[str, Any], reports: Mapping[str, SplitReport]
) -> tuple[list[str], list[str]]:
    """Check a recipe's requirements of its data and of its initial weights.

    Args:
        recipe: content of its YAML file.
        reports: of the splits, by name.

    Returns:
        errors, and warnings.

    Raises:
        ValueError: for settings of an invalid type.
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
            warnings.append(f'{fault}; layers of other shapes start from random weights')
    return errors, warnings


def name_of_sample(reader: Reader, index: int) -> str:
    """Return the file name of a sample's image, or its index for generated images."""
    return reader.pairs[index].image.name if isinstance(reader, FileReader) else f'#{index}'


def compare_splits(reports: Mapping[str, SplitReport]) -> tuple[list[str], list[str]]:
    """Return errors and warnings about differences between train and val."""
    train, val = reports.get('train'), reports.get('val')
    if train is None or val is None:
        return [], []
    if fault := fault_of(lambda: require_same_classes(train.labels, 'train', val.labels, 'val')):
        return [fault], []
    new = [
        name
        for name, in_train, in_val in zip(
            train.labels.names, train.segments, val.segments, strict=False
        )
        if in_val and not in_train
    ]
    return [], ([f'in val and not in train: classes {listing(new)}'] if new else [])


def _read(reader: Reader, index: int) -> tuple[str | None, SampleCounts | None]:
    counts: list[SampleCounts] = []
    fault = fault_of(lambda: counts.append(count_sample(reader.read(index, 0))))
    return fault, counts[0] if counts else None
