# SPDX-License-Identifier: Apache-2.0
"""Base of the readers of files: pairs of image and label files, their decoding and checks.

Pillow decodes them: unlike OpenCV it detects truncated files, and returns the indices of a palette
PNG instead of its colours.
"""

import io
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from panoptic_ros.core.id_png import MAX_PIXELS
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.png import check_png, read_png_chunks
from panoptic_ros.images.jpeg import read_jpeg

from .sample import Sample

warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # MAX_PIXELS is checked here

IMAGE_SUFFIXES = frozenset({'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm'})

FORMATS = ('JPEG', 'PNG', 'BMP', 'TIFF', 'WEBP', 'PPM')
"""Formats of these files, by Pillow's names; its decoders of other formats are not tried."""

EXIF = ('refuse', 'apply', 'ignore')
"""Handling of photos with an EXIF orientation, which viewers rotate."""

ORIENTATION = 0x112
"""EXIF tag of the orientation: 1 for none, 2 to 8."""

GREY_STEP = {'L;2': 85, 'L;4': 17}
"""Factors by which Pillow multiplies the values of grey PNGs with 2 and 4 bits."""

FEW_GREYS = 16
"""An image with fewer grey levels shows little."""

TABLE = 1 << 20
"""Ids below this are looked up in a table, which is faster than a binary search."""

Maps = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]
"""class_map and instance_map, (H, W) each."""


class FilePair(NamedTuple):
    """Paths of an image and its labels."""

    image: Path

    labels: Path
    """For an image without labels its own path."""

    clip: str = ''
    """Name of the video that the image belongs to; empty for single images."""


class FileError(ValueError):
    """Error of an invalid image or label file; the message starts with its path."""


class FileReader:
    """Reader of a split whose samples are pairs of files; the base of the data sets.

    The attributes up to `renamed` declare a data set for `registry.py`.

    Args:
        pairs: in the order of their indices; frames of a clip in time order. Files may be
            missing: `faults` reports them.
        where: the searched folder, for the message if there are no pairs.

    Raises:
        FileNotFoundError: if there are no pairs.
    """

    name: ClassVar[str]
    """Name of the data set on the command line and in recipes."""

    help: ClassVar[str]
    """Contents in a few words, for help texts and the documentation."""

    marks: ClassVar[tuple[str, ...]]
    """Patterns of files by which a folder is recognised; empty for a data set without files."""

    splits: ClassVar[Collection[str]]
    """Names of the splits; empty where folders of any name are splits."""

    knows_hidden: ClassVar[bool] = False
    """Whether there is an option `hidden`, which adds `Sample.hidden_map`."""

    submission: str = ''
    """See `Reader`."""

    renamed: ClassVar[dict[str, str]] = {}
    """Options of earlier versions, with their present names."""

    labels: LabelSet

    exif: str = 'refuse'
    """One of `EXIF`."""

    def __init__(self, pairs: Sequence[FilePair], where: Path) -> None:
        if not pairs:
            raise FileNotFoundError(f'no images in {where}')
        self.pairs = list(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def image_ids(self) -> list[int | str]:
        """File names of the images, with their folders if names occur twice.

        The name of a frame starts with its clip's, since frames are numbered within a clip.
        """
        names = [
            f'{pair.clip}_{pair.image.stem}' if pair.clip else pair.image.stem
            for pair in self.pairs
        ]
        return list(
            names
            if len(set(names)) == len(names)
            else (str(path.with_suffix('')) for path in inner_paths(p.image for p in self.pairs))
        )

    @property
    def image_names(self) -> list[str]:
        """See `Reader`."""
        return list(map(str, self.image_ids))

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return a random order."""
        return rng.permutation(len(self))

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the frames of each video, in time order; empty for single images."""
        found: dict[str, list[int]] = {}
        for index, pair in enumerate(self.pairs):
            if pair.clip:
                found.setdefault(pair.clip, []).append(index)
        return tuple(tuple(frames) for frames in found.values())

    def faults(self) -> dict[int, str]:
        """Return by index the faults that names and headers of files reveal; decode no image."""
        return {
            index: fault
            for index, pair in enumerate(self.pairs)
            if (fault := fault_of(partial(_check_headers, pair, self.exif)))
        }

    def notes(self) -> list[str]:
        """Return remarks on the samples read so far: what was left out or looks unintended."""
        return []

    def size_of(self, index: int) -> tuple[int, int]:
        """Return (height, width) of image `index`, from its header.

        Raises:
            FileNotFoundError, ValueError: see `image_size`.
        """
        return image_size(self.pairs[index].image, self.exif)

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Return image `index`; the epoch has no effect.

        Raises:
            ValueError, OSError: for a missing or invalid file, or sizes that differ.
        """
        pair, image = self.pairs[index], read_rgb(self.pairs[index].image, self.exif)
        maps = self.read_labels(index)
        if maps[0].shape != image.shape[:2]:
            raise ValueError(_size_mismatch(pair, image.shape, maps[0].shape))
        return Sample(image, *maps)

    def read_labels(self, index: int) -> Maps:
        """Return class and instance of each pixel of image `index`."""
        raise NotImplementedError


def pair_stems(images: Path, labels: Path, *others: Path) -> list[FilePair]:
    """Pair the images of one folder with the PNGs of another by their names without suffix.

    Subfolders are searched, hidden files are ignored. A file without a partner is paired with the
    path at which its partner is missing.

    Args:
        images: folder of the images.
        labels: folder of the PNGs.
        others: further folders to exclude from the search for images.

    Raises:
        ValueError: if two images or two PNGs differ in the suffix alone.
    """
    pictures = _by_stem(images, IMAGE_SUFFIXES, {labels, *others} - {images})
    masks = _by_stem(labels, {'.png'}, set(others) - {labels})
    return [
        FilePair(
            pictures.get(stem, images / f'{stem}.jpg'), masks.get(stem, labels / f'{stem}.png')
        )
        for stem in sorted({*pictures, *masks})
    ]


def inner_paths(paths: Iterable[Path]) -> list[Path]:
    """Return paths relative to their deepest common folder."""
    paths = list(paths)
    root = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(root) for path in paths]


def image_size(path: Path, exif: str = 'ignore') -> tuple[int, int]:
    """Return (height, width) from the file's header.

    Args:
        path: the image.
        exif: one of `EXIF`; `refuse` raises for a photo with an orientation.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is not an image or too large.
    """
    with _opened(path) as image:
        orientation = _orientation(image, path, exif)
        # Pillow itself rotates TIFFs.
        swap = exif == 'apply' and orientation >= 5 and image.format != 'TIFF'
        return (image.width, image.height) if swap else (image.height, image.width)


def image_orientation(path: Path) -> int:
    """Return the EXIF orientation, 1 for none to 8.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is not an image.
    """
    with _opened(path) as image:
        return _orientation(image, path, 'apply')


def read_rgb(path: Path, exif: str = 'refuse') -> npt.NDArray[np.uint8]:
    """Read an image as RGB (H, W, 3); of 16-bit channels the high byte, as in the node.

    Args:
        path: the image.
        exif: one of `EXIF`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is not an image, truncated or too large, for greys that the
            high byte does not distinguish, or for a photo with an orientation if `exif` is
            `refuse`.
    """
    with _opened(path) as image:
        is_rotated = _orientation(image, path, exif) > 1 and exif == 'apply'
        _require_complete(image, path)
        upright = ImageOps.exif_transpose(image) if is_rotated else image
        if upright.mode.startswith('I') or upright.mode == 'F':
            return np.repeat(_high_byte(np.array(upright), path)[..., None], 3, axis=2)
        return np.array(upright.convert('RGB'), np.uint8)


def read_id_map(path: Path) -> npt.NDArray[np.integer]:
    """Read the ids of a PNG (H, W): grey and palette values, or R + 256 G + 65536 B of RGB.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is truncated or not such a PNG.
    """
    with _opened(path) as image:
        kind, stored, form = image.mode, _storage(image), image.format
        if (
            form != 'PNG'
            or kind not in ('1', 'L', 'P', 'I', 'I;16', 'RGB', 'RGBA')
            or (kind in ('RGB', 'RGBA') and ';16' in stored)
        ):
            raise FileError(
                f'{path} is not a PNG of ids, which is grey (up to 16 bit), palette '
                f'or RGB (8 bit); it is {form} of the kind {stored or kind}'
            )
        check_png(path.read_bytes())
        ids = np.array(image)
    if kind in ('RGB', 'RGBA'):
        red, green, blue = np.moveaxis(ids[..., :3].astype(np.int32), 2, 0)
        return red | green << 8 | blue << 16
    if kind == '1':
        return ids.astype(np.uint8)
    return ids // GREY_STEP[stored] if stored in GREY_STEP else ids


def depth_hint(path: Path) -> str:
    """Return the end of a message about unknown ids in a PNG that is not grey with 16 bits."""
    with _opened(path) as image:
        kind = image.mode
    if kind in ('1', 'L', 'P'):
        return '; the PNG has 8 bits, so its values may be class ids alone: write 16 bits'
    if kind in ('RGB', 'RGBA'):
        return '; the PNG has several channels, read as R + 256 G + 65536 B: write one of 16 bits'
    return ''


def split_ids(
    ids: npt.NDArray[np.integer],
    describe: Callable[
        [npt.NDArray[np.int64]], tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]
    ],
) -> Maps:
    """Return class and instance of each pixel, by those of each id.

    Args:
        ids: id of each pixel, 0 or more, (H, W).
        describe: returns class id and instance id of each occurring id; receives these in rising
            order, (N,).
    """
    flat = ids.reshape(-1)
    ends = flat[:-1][flat[1:] != flat[:-1]]  # neighbours are mostly equal, so few are sorted
    found = np.unique(np.append(ends, flat[-1:])).astype(np.int64)
    classes, instances = describe(found)
    top = int(found.max(initial=0)) + 1
    if top <= TABLE:
        class_table, instance_table = np.zeros(top, np.uint8), np.zeros(top, np.int32)
        class_table[found], instance_table[found] = classes, instances
        return class_table[ids], instance_table[ids]
    place = np.searchsorted(found, ids)
    return np.asarray(classes, np.uint8)[place], np.asarray(instances, np.int32)[place]


def number_instances(counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return 1, 2, ... for the entries that are true, 0 for the others."""
    return np.where(counted, np.cumsum(counted), 0).astype(np.int32)


def thing_table(labels: LabelSet) -> npt.NDArray[np.bool_]:
    """Return whether each class id is a thing, (256,); False for void."""
    return np.append(labels.is_thing, np.zeros(256 - len(labels), bool))


def fault_of(read: Callable[[], object]) -> str | None:
    """Return the error message of a function in one line; None if it succeeds."""
    try:
        read()
    except (ValueError, OSError) as error:
        return ' '.join(str(error).split())
    return None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; Pillow's errors become a `FileError` with its path."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise FileError(
                    f'{path} has {image.width} x {image.height} pixels, expected '
                    f'{MAX_PIXELS} at most'
                )
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f'{path} does not exist') from None
    except UnidentifiedImageError:
        raise FileError(f'{path} is not an image') from None
    except FileError:
        raise
    except Exception as error:  # Pillow's decoders raise many types
        raise FileError(f'{path} cannot be decoded: {error}') from None


def _require_complete(image: Image.Image, path: Path) -> None:
    """Refuse a damaged PNG, and a JPEG that ends early but has an end marker.

    Pillow would fill them with black and grey.

    Raises:
        ValueError: for such a file; the message lacks the path.
    """
    if image.format == 'PNG':
        read_png_chunks(path.read_bytes())  # `check_png` would take as long as the decoder
    if image.format not in ('JPEG', 'MPO'):
        return

    def decode(data: bytes) -> npt.NDArray[np.uint8]:
        with Image.open(io.BytesIO(data)) as other:
            return np.array(other.convert('RGB'))[..., ::-1]

    data = path.read_bytes()
    if not read_jpeg(data).is_complete(data, np.array(image.convert('RGB'))[..., ::-1], decode):
        raise ValueError('the jpeg image is cut short: a part of its data is missing')


def _high_byte(grey: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint8]:
    """Return the high byte of 16-bit greys.

    Raises:
        FileError: for other greys, or if the high byte distinguishes few of them, as in thermal
            images.
    """
    if grey.dtype.kind not in 'iu' or grey.min(initial=0) < 0 or grey.max(initial=0) > 0xFFFF:
        raise FileError(f'{path} has greys of {grey.dtype}, expected 8 or 16 bits')
    high = (grey >> 8).astype(np.uint8)
    greys, kept = len(np.unique(grey)), len(np.unique(high))
    if kept < FEW_GREYS and greys > 4 * kept:
        raise FileError(
            f'{path} has {greys} greys in 16 bits, of which the high byte distinguishes '
            f'{kept}; stretch them to 8 bits, and those of the camera in the same way'
        )
    return high


def _storage(image: Image.Image) -> str:
    """Return Pillow's name of the pixels' storage, e.g. `L;4` for grey with 4 bits."""
    tiles = getattr(image, 'tile', ())
    name = tiles[0][3] if tiles else ''
    return str(name[0] if isinstance(name, tuple) else name)


def _orientation(image: Image.Image, path: Path, exif: str) -> int:
    """Return the EXIF orientation, 1 to 8.

    Raises:
        FileError: for an orientation that `exif` does not allow.
    """
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # broken EXIF data, which viewers ignore
        return 1
    if not isinstance(orientation, int) or not 2 <= orientation <= 8:
        return 1
    if exif == 'refuse':
        raise FileError(
            f'{path} has an EXIF orientation ({orientation}): viewers rotate it, and its labels '
            'may match either view. `panoptic data convert --exif apply` (labels match the '
            'rotated photo) or `--exif ignore` (they match the stored pixels) writes photos '
            'without it'
        )
    if exif == 'ignore' and image.format == 'TIFF':
        raise FileError(
            f'{path} is a TIFF with an EXIF orientation ({orientation}), which cannot be '
            'ignored; write it without one'
        )
    return orientation


def _by_stem(folder: Path, suffixes: Set[str], besides: Set[Path]) -> dict[str, Path]:
    """Return the files with given suffixes by their path within the folder without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob('*')):
        inner = path.relative_to(folder)
        if (
            path.suffix.lower() in suffixes
            and not path.name.startswith('.')
            and besides.isdisjoint(path.parents)
        ):
            other = found.setdefault(str(inner.with_suffix('')), path)
            if other is not path:
                raise ValueError(
                    f'{path} and {other.name} differ in the suffix alone, so it is '
                    'ambiguous which labels belong to which image'
                )
    return found


def _check_headers(pair: FilePair, exif: str) -> None:
    size, labelled = image_size(pair.image, exif), image_size(pair.labels)
    if size != labelled:
        raise ValueError(_size_mismatch(pair, size, labelled))


def _size_mismatch(pair: FilePair, image: Sequence[int], labels: Sequence[int]) -> str:
    return (
        f'{pair.image} is {image[0]} x {image[1]}, its labels {pair.labels} are '
        f'{labels[0]} x {labels[1]}'
    )
