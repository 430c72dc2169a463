"""What readers of files share: pairs of image and labels, their decoding, what is wrong with them.

Pillow decodes: unlike OpenCV it tells a file that was cut off from a whole one, and gives the
numbers of a palette PNG instead of its colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from panoptic_ros.labels import LabelSet

from .sample import Sample

IMAGE_SUFFIXES = frozenset({'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm'})

TABLE = 1 << 20
"""Ids below this are looked up in a table, which is faster than a search."""

Maps = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]
"""class_map and instance_map, (H, W) each."""


class Pair(NamedTuple):
    """An image and the file of its labels."""

    image: Path
    labels: Path
    clip: str = ''
    """Name of the video that the image is a frame of; empty where there is none."""


class FileReader:
    """A split whose samples are pairs of files.

    Args:
        pairs: in the order of their indices; frames of a clip in time order. Files may be
            missing: `faults` tells.
        where: what was searched, for the message if there are none.

    Raises:
        FileNotFoundError: if there are no pairs.
    """

    labels: LabelSet

    def __init__(self, pairs: Sequence[Pair], where: Path) -> None:
        if not pairs:
            raise FileNotFoundError(f'no images in {where}')
        self.pairs = list(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def image_ids(self) -> list[int | str]:
        """Names of the image files; frames of a clip are numbered within it, so with its name."""
        return [f'{pair.clip}_{pair.image.stem}' if pair.clip else pair.image.stem
                for pair in self.pairs]

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Any order is as good."""
        return rng.permutation(len(self))

    @property
    def clips(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the frames of each video, in time order; none for single images."""
        found: dict[str, list[int]] = {}
        for index, pair in enumerate(self.pairs):
            if pair.clip:
                found.setdefault(pair.clip, []).append(index)
        return tuple(tuple(frames) for frames in found.values())

    def faults(self) -> dict[int, str]:
        """By index, what names and headers of the files tell is wrong; decodes no image."""
        return {index: fault for index, pair in enumerate(self.pairs)
                if (fault := fault_of(partial(_check_headers, pair)))}

    def read(self, index: int, epoch_seed: int) -> Sample:
        """Image `index`, whatever the epoch.

        Raises:
            ValueError, OSError: in one line, if a file is not what it should be.
        """
        pair, image = self.pairs[index], read_rgb(self.pairs[index].image)
        maps = self.read_labels(index)
        if maps[0].shape != image.shape[:2]:
            raise ValueError(_sizes(pair, image.shape, maps[0].shape))
        return Sample(image, *maps)

    def read_labels(self, index: int) -> Maps:
        """Class and instance of each pixel of image `index`."""
        raise NotImplementedError


def pair_stems(images: Path, labels: Path) -> list[Pair]:
    """Pairs the images of one folder with the PNGs of another by their names without suffix.

    What lacks its partner is paired with the file that should be there.

    Raises:
        ValueError: if two images differ in the suffix alone.
    """
    pictures: dict[str, Path] = {}
    for path in images.glob('*'):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in pictures:
                raise ValueError(f'{path} and {pictures[path.stem].name} differ in the suffix '
                                 'alone; which labels belong to which cannot be told')
            pictures[path.stem] = path
    masks = (path.stem for path in labels.glob('*.png'))
    return [Pair(pictures.get(stem, images / f'{stem}.jpg'), labels / f'{stem}.png')
            for stem in sorted({*pictures, *masks})]


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the file's first bytes.

    Raises:
        FileNotFoundError, ValueError: if it is missing or no image.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) RGB as stored, whatever turn the camera noted.

    Raises:
        FileNotFoundError, ValueError: if it is missing, no image, or cut off.
    """
    with _opened(path) as image:
        return np.array(image.convert('RGB'), np.uint8)


def read_ids(path: Path) -> npt.NDArray[np.integer]:
    """(H, W) id of each pixel of a PNG: grey or palette as they are, RGB as R + 256 G + 65536 B.

    Raises:
        FileNotFoundError, ValueError: if it is missing, cut off or of another kind.
    """
    with _opened(path) as image:
        kind, ids = image.mode, np.array(image)
    if kind in ('RGB', 'RGBA'):
        red, green, blue = np.moveaxis(ids[..., :3].astype(np.int32), 2, 0)
        return red | green << 8 | blue << 16
    if kind not in ('L', 'P', 'I', 'I;16'):
        raise ValueError(f'{path} is not a PNG of ids, which is grey (8 or 16 bit), palette or '
                         f'RGB; its kind is {kind}')
    return ids


def split_ids(ids: npt.NDArray[np.integer],
              describe: Callable[[npt.NDArray[np.int64]],
                                 tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]],
              ) -> Maps:
    """Class and instance of each pixel, from those of each id.

    Args:
        ids: 0 or more, (H, W).
        describe: from the ids that occur, rising, (N,): class id and instance id of each.
    """
    flat = ids.reshape(-1)
    ends = flat[:-1][flat[1:] != flat[:-1]]  # neighbours are alike: sort few of them
    found = np.unique(np.append(ends, flat[-1:])).astype(np.int64)
    classes, instances = describe(found)
    top = int(found.max(initial=0)) + 1
    if top <= TABLE:
        class_table, instance_table = np.zeros(top, np.uint8), np.zeros(top, np.int32)
        class_table[found], instance_table[found] = classes, instances
        return class_table[ids], instance_table[ids]
    place = np.searchsorted(found, ids)
    return np.asarray(classes, np.uint8)[place], np.asarray(instances, np.int32)[place]


def number(counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """1, 2, ... where something counts, 0 elsewhere."""
    return np.where(counted, np.cumsum(counted), 0).astype(np.int32)


def thing_table(labels: LabelSet) -> npt.NDArray[np.bool_]:
    """(256,) whether each class id is a thing; void is none."""
    return np.append(labels.is_thing, np.zeros(256 - len(labels), bool))


def fault_of(read: Callable[[], object]) -> str | None:
    """What is wrong with what is read, in one line; None if nothing is."""
    try:
        read()
    except (ValueError, OSError) as error:
        return ' '.join(str(error).split())
    return None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file; what is wrong with it becomes one line with its path."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f'{path} does not exist') from None
    except UnidentifiedImageError:
        raise ValueError(f'{path} is not an image') from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # as Pillow has it
        raise ValueError(f'{path} cannot be decoded: {error}') from None


def _check_headers(pair: Pair) -> None:
    size, labelled = image_size(pair.image), image_size(pair.labels)
    if size != labelled:
        raise ValueError(_sizes(pair, size, labelled))


def _sizes(pair: Pair, image: Sequence[int], labels: Sequence[int]) -> str:
    return (f'{pair.image} is {image[0]} x {image[1]}, its labels {pair.labels} are '
            f'{labels[0]} x {labels[1]}')
