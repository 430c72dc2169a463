# SPDX-License-Identifier: Apache-2.0
"""Registry of data sets. To add one, write a reader in a file beside this and add its class."""

import inspect
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from panoptic_ros.core.inputs import require_folder
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.stores import is_url
from panoptic_ros.core.text import did_you_mean

from .ade20k import Ade20k
from .camvid import CamVid
from .cityscapes import Cityscapes
from .cityscapes_vps import CityscapesVps
from .coco import CocoPanoptic
from .files import FileReader
from .folder import OwnFolder
from .kitti_step import KittiStep
from .remote import local_copy
from .sample import Reader
from .skipping import Skipping, listing
from .synthetic.dataset import City
from .vistas import Vistas

logger = logging.getLogger(__name__)

ON_ERROR = ('fail', 'skip')


DataSet = type[City] | type[FileReader]
"""A reader class; `FileReader` explains the attributes that declare a data set."""

DATASET_CLASSES: tuple[DataSet, ...] = (
    City,
    OwnFolder,
    Cityscapes,
    CityscapesVps,
    Vistas,
    Ade20k,
    KittiStep,
    CamVid,
    CocoPanoptic,
)
"""In the order in which a folder's layout is compared with their marks; the first match wins."""

DATASETS = {data_set.name: data_set for data_set in DATASET_CLASSES}


def open_reader(name: str, split: str, on_error: str = 'fail', **options: Any) -> Reader:
    """Open one split of a data set, and check that its files exist and match.

    Args:
        name: `synthetic`, or a data set and its folder, `camvid:<folder>`; the folder may be a URL
            of an object store, see `local_copy`.
        split: `train`, `val` or `test`.
        on_error: `fail` on bad files, or `skip` them and log which.
        options: further arguments of the reader.

    Raises:
        ValueError: for an unknown name, split or option, or files that do not match.
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
    """Return a reader whose files have not been checked yet; see `open_reader`."""
    kind, folder = parse_name(name)
    data_set = DATASETS[kind]
    check_renamed(kind, options)
    known = list(inspect.signature(data_set).parameters)[2 if folder else 1 :]
    for option in sorted(set(options) - set(known)):
        options_are = f'the options are: {", ".join(known)}' if known else 'it takes no options'
        raise ValueError(
            f'data {kind!r} has no option {option!r}{did_you_mean(option, known)}; {options_are}'
        )
    if data_set.splits and split not in data_set.splits:
        raise ValueError(f'{kind} has the splits {", ".join(data_set.splits)}, got {split!r}')
    construct: Callable[..., Reader] = data_set
    place = [local_copy(folder) if is_url(folder) else Path(folder)] if folder else []
    try:
        return construct(*place, split, **options)
    except TypeError as error:
        if not options:
            raise
        raise ValueError(
            f'data {kind!r}: an option is of another type, got {options}: {error}'
        ) from None


def check_renamed(kind: str, options: Collection[str]) -> None:
    """Refuse options of earlier versions of a data set.

    Raises:
        ValueError: naming the present name of the option.
    """
    renamed = DATASETS[kind].renamed
    for option in sorted(set(options) & renamed.keys()):
        raise ValueError(f'data {kind!r}: the option {option!r} is called {renamed[option]!r} now')


def parse_name(name: str) -> tuple[str, str]:
    """Return the data set and the folder of a name; the folder is empty where none is needed.

    Raises:
        ValueError, FileNotFoundError: for an unknown data set or a missing folder.
    """
    kind, _, folder = name.partition(':')
    if kind not in DATASETS:
        raise ValueError(
            f'unknown data {name!r}{did_you_mean(kind, DATASETS)}; expected one of: '
            f'{", ".join(typed_names())}'
        )
    if bool(folder) != bool(DATASETS[kind].marks):
        typed = f'{kind}:<folder>' if DATASETS[kind].marks else kind
        raise ValueError(f'data {kind!r} is named {typed}, got {name!r}')
    if folder and not is_url(folder):
        require_folder(Path(folder), f'folder of data {kind!r}')
    return kind, folder


def typed_names() -> dict[str, DataSet]:
    """Return the data sets by their names as a user types them, `camvid:<folder>`."""
    return {f'{d.name}:<folder>' if d.marks else d.name: d for d in DATASET_CLASSES}


def labels_of(name: str) -> LabelSet:
    """Return the classes of a data set, without its folder where the data set itself has some.

    Raises:
        ValueError, FileNotFoundError: for an unknown data set, or a missing folder where only the
            folder names the classes.
    """
    kind, _, folder = name.partition(':')
    known: LabelSet | None = getattr(DATASETS.get(kind), 'labels', None)
    if known is not None and folder and (is_url(folder) or not Path(folder).is_dir()):
        return known
    return make_reader(name, 'train').labels


def resolve_name(text: str, recipes: Collection[str] = ()) -> str:
    """Return a data set's name, given itself or a folder whose layout identifies the data set.

    Args:
        text: what the user gave.
        recipes: names of recipes, if the user may give one too; for the message only.

    Raises:
        ValueError, OSError: for a layout of no known data set, a file, or a missing folder.
    """
    if not Path(text).is_dir():
        if text.partition(':')[0] not in DATASETS and ':' not in text:
            kinds = 'a folder, a data set or a recipe' if recipes else 'a folder or a data set'
            if Path(text).exists():
                raise NotADirectoryError(f'{text} is a file, expected {kinds}')
            folders = [path.name for path in Path().iterdir() if path.is_dir()]
            raise FileNotFoundError(
                f'{text!r} is not {kinds}'
                f'{did_you_mean(text, [*folders, *DATASETS, *recipes])}; the data sets are: '
                f'{", ".join(typed_names())}'
            )
        parse_name(text)
        return text
    for data_set in DATASET_CLASSES:
        if any(next(Path(text).glob(mark), None) for mark in data_set.marks):
            return f'{data_set.name}:{text}'
    layouts = ', '.join(f'{d.name} ({d.marks[0]})' for d in DATASET_CLASSES if d.marks)
    raise ValueError(f'{text} has the layout of no known data set; the layouts are: {layouts}')


def with_hidden(reader: Reader, name: str, split: str) -> Reader:
    """Return a reader of the same samples with hidden maps, where the data set has them."""
    if not DATASETS[name.partition(':')[0]].knows_hidden:
        return reader
    try:
        return open_reader(name, split, hidden=True)
    except FileNotFoundError:  # COCO without its instance annotations
        return reader


def dataset_list() -> str:
    """Return a line per data set, for help texts."""
    return '\n'.join(f'  {name:<25} {d.help}' for name, d in typed_names().items())


def dataset_table() -> str:
    """Return the Markdown table of the data sets for the documentation."""
    rows = [
        f'| `{name}` | {d.help} | {", ".join(d.splits) or "any folder"} | '
        f'{", ".join(f"`{mark}`" for mark in d.marks)} | {"yes" if d.knows_hidden else ""} |'
        for name, d in typed_names().items()
    ]
    head = '| name | contents | splits | a folder is recognised by | hidden parts |'
    return '\n'.join([head, '|---|---|---|---|---|', *rows, ''])
