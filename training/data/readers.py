"""The data sets by name. To add one: a file beside this and a line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .camvid import CamVid
from .city import City
from .cityscapes import Cityscapes
from .coco import CocoPanoptic
from .sample import Reader

READERS: dict[str, Callable[..., Reader]] = {
    'synthetic': City, 'camvid': CamVid, 'cityscapes': Cityscapes, 'coco': CocoPanoptic}
FROM_FOLDER = frozenset({'camvid', 'cityscapes', 'coco'})

SAYS_HIDDEN = frozenset({'synthetic', 'coco'})
"""Readers that take `hidden`, and then say what goes on under what is seen."""


def open_reader(name: str, split: str, **options: Any) -> Reader:
    """Opens one split of a data set.

    Args:
        name: `synthetic`, or a data set and its folder, `camvid:<folder>`.
        split: `train`, `val` or `test`.
        options: further arguments of the reader.

    Raises:
        ValueError: for an unknown name or option, or files that do not fit.
        FileNotFoundError: for a missing folder.
    """
    kind, _, folder = name.partition(':')
    if kind not in READERS or bool(folder) != (kind in FROM_FOLDER):
        known = ', '.join(f'{k}:<folder>' if k in FROM_FOLDER else k for k in READERS)
        raise ValueError(f'unknown data {name!r}; expected one of: {known}')
    own = list(inspect.signature(READERS[kind]).parameters)[2 if folder else 1:]
    unknown = sorted(set(options) - set(own))
    if unknown:
        raise ValueError(f'data {kind!r} has no option {unknown[0]!r}; '
                         f'the options are: {", ".join(own)}')
    if folder:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f'no folder {folder} for data {kind!r}')
        return READERS[kind](Path(folder), split, **options)
    return READERS[kind](split, **options)


def with_hidden(reader: Reader, name: str, split: str) -> Reader:
    """A reader of the same samples that says what is hidden, where the data knows."""
    if name.partition(':')[0] not in SAYS_HIDDEN:
        return reader
    try:
        return open_reader(name, split, hidden=True)
    except FileNotFoundError:  # COCO without its instance annotations
        return reader
