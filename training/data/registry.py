# SPDX-License-Identifier: Apache-2.0
"""The data sets by name. To add one: a file beside this and a line here."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panoptic_ros.core.labels import LabelSet

from .ade20k import Ade20k
from .camvid import CamVid
from .cityscapes import Cityscapes
from .cityscapes_vps import CityscapesVps
from .coco import CocoPanoptic
from .files import FileReader
from .folder import OwnFolder
from .kitti_step import KittiStep
from .sample import Reader
from .skipping import Skipping, listing
from .synthetic.dataset import City
from .vistas import Vistas

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[..., Reader]] = {
    'synthetic': City,
    'camvid': CamVid,
    'cityscapes': Cityscapes,
    'coco': CocoPanoptic,
    'vistas': Vistas,
    'ade20k': Ade20k,
    'cityscapes_vps': CityscapesVps,
    'kitti_step': KittiStep,
    'folder': OwnFolder,
}
FROM_FOLDER = frozenset(READERS) - {'synthetic'}

SAYS_HIDDEN = frozenset({'synthetic', 'coco'})
"""Readers that take `hidden`, and then say what goes on under what is seen."""

MARKS = {
    'folder': ('classes.yaml',),
    'cityscapes': ('leftImg8bit',),
    'cityscapes_vps': ('*_city_vps.json',),
    'vistas': ('config*.json', 'training/instances'),
    'ade20k': ('ade20k_panoptic_*.json',),
    'kitti_step': ('panoptic_maps', '*/panoptic_maps'),
    'camvid': ('train/labels',),
    'coco': ('annotations/panoptic_*.json', 'train.json', 'val.json'),
}
"""What a folder holds by which its layout is known; the first that fits."""

ON_ERROR = ('fail', 'skip')


def open_reader(name: str, split: str, on_error: str = 'fail', **options: Any) -> Reader:
    """Opens one split of a data set and checks that its files are there and fit.

    Args:
        name: `synthetic`, or a data set and its folder, `camvid:<folder>`.
        split: `train`, `val` or `test`.
        on_error: `fail` at bad files, or `skip` them and say so.
        options: further arguments of the reader.

    Raises:
        ValueError: for an unknown name or option, or files that do not fit.
        FileNotFoundError: for a missing folder.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f'on_error must be fail or skip, got {on_error!r}')
    reader = make_reader(name, split, **options)
    if not isinstance(reader, FileReader):
        return reader
    faults = reader.faults()
    if on_error == 'skip':
        if faults:
            names = [reader.pairs[i].image.name for i in faults]
            logger.warning(
                '%s, %s: %d of %d samples are bad and left out: %s',
                name,
                split,
                len(faults),
                len(reader),
                listing(names),
            )
        return Skipping(reader, faults)
    if faults:
        raise ValueError(
            f'{len(faults)} of {len(reader)} samples are bad, e.g. '
            f'{next(iter(faults.values()))}; `panoptic data check {name}` lists '
            'all, `--data.on_error skip` trains without them'
        )
    return reader


def make_reader(name: str, split: str, **options: Any) -> Reader:
    """A reader whose files nobody has looked at yet; see `open_reader`."""
    kind, folder = kind_and_folder(name)
    own = list(inspect.signature(READERS[kind]).parameters)[2 if folder else 1 :]
    unknown = sorted(set(options) - set(own))
    if unknown:
        raise ValueError(
            f'data {kind!r} has no option {unknown[0]!r}; the options are: {", ".join(own)}'
        )
    try:
        if folder:
            return READERS[kind](Path(folder), split, **options)
        return READERS[kind](split, **options)
    except TypeError as error:
        if not options:
            raise
        raise ValueError(
            f'data {kind!r}: an option is of another type, got {options}: {error}'
        ) from None


def kind_and_folder(name: str) -> tuple[str, str]:
    """The two parts of a data set's name; the folder is empty where there is none.

    Raises:
        ValueError, FileNotFoundError: for an unknown data set or a missing folder.
    """
    kind, _, folder = name.partition(':')
    if kind not in READERS or bool(folder) != (kind in FROM_FOLDER):
        known = ', '.join(f'{k}:<folder>' if k in FROM_FOLDER else k for k in READERS)
        raise ValueError(f'unknown data {name!r}; expected one of: {known}')
    if folder and not Path(folder).is_dir():
        raise FileNotFoundError(f'no folder {folder} for data {kind!r}')
    return kind, folder


def labels_of(name: str) -> LabelSet:
    """The classes of a data set: its folder's, where that is there, else those such data have.

    Raises:
        ValueError, FileNotFoundError: for an unknown data set, or where only a missing folder
            could tell.
    """
    kind, _, folder = name.partition(':')
    known: LabelSet | None = getattr(READERS.get(kind), 'labels', None)
    if known is not None and folder and not Path(folder).is_dir():
        return known
    return make_reader(name, 'train').labels


def name_of(text: str) -> str:
    """A data set's name from itself or from its folder alone, whose layout tells what it is.

    Raises:
        ValueError, FileNotFoundError: if it does not, or nothing is there.
    """
    if not Path(text).is_dir():
        kind_and_folder(text)
        return text
    for kind, marks in MARKS.items():
        if any(next(Path(text).glob(mark), None) for mark in marks):
            return f'{kind}:{text}'
    raise ValueError(
        f'{text} has the layout of no known data set; the layouts are: '
        f'{", ".join(f"{kind} ({marks[0]})" for kind, marks in MARKS.items())}'
    )


def with_hidden(reader: Reader, name: str, split: str) -> Reader:
    """A reader of the same samples that says what is hidden, where the data knows."""
    if name.partition(':')[0] not in SAYS_HIDDEN:
        return reader
    try:
        return open_reader(name, split, hidden=True)
    except FileNotFoundError:  # COCO without its instance annotations
        return reader
