# SPDX-License-Identifier: Apache-2.0
"""Images and videos that a user names: what each path is, and its name in the results."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import IO

import numpy as np

from panoptic_ros.core.id_png import MAX_PIXELS
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.inputs import kind_of, near_name, require_file
from panoptic_ros.images.files import KINDS, is_image
from panoptic_ros.images.messages import read_compressed_image, read_message
from panoptic_ros.images.orientation import exif_orientation, upright
from panoptic_ros.recordings import bag_folder
from panoptic_ros.recordings import folder as folders
from panoptic_ros.recordings import video as videos
from panoptic_ros.recordings.folder import ImageFolder, image_files
from panoptic_ros.recordings.image_source import CompressedImage, RawImage, TimedImage
from panoptic_ros.recordings.unpack import MAX_BYTES
from panoptic_ros.recordings.video import Video


@dataclass(frozen=True)
class Still:
    """An image file."""

    path: Path
    name: str
    """File name; if names occur twice, path below the deepest folder that holds all inputs."""

    frames = 1

    def read(self) -> CameraImage:
        """Read the image, upright; see `read_upright`.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is not an image, or is damaged or too large.
        """
        require_file(self.path, 'an image')
        _require_regular(self.path)
        with self.path.open('rb') as file:
            return read_stream(file, str(self.path))

    def state(self) -> list[str | int]:
        """Return path, size and time of change, by which a changed file is recognised."""
        return _state([self.path], self.path)


@dataclass(frozen=True)
class Clip:
    """A video, or a folder of images that is tracked as one."""

    path: Path
    name: str
    """See `Still`."""

    source: Video | ImageFolder

    @cached_property
    def frames(self) -> int:
        """Number of frames; approximate for a video."""
        return round((self.source.duration_s or 0) * self.source.rate_hz)

    def images(self) -> Iterator[tuple[str, TimedImage]]:
        """Yield the frames with their file names, `000000.jpg` in a video."""
        names = (
            (file.name for file in self.source.files)
            if isinstance(self.source, ImageFolder)
            else (f'{index:06d}.jpg' for index in count())
        )
        return zip(names, self.source.images(), strict=False)

    def state(self) -> list[str | int]:
        """See `Still.state`."""
        files = self.source.files if isinstance(self.source, ImageFolder) else [self.path]
        return _state(files, self.path)


def read_stream(file: IO[bytes], where: str) -> CameraImage:
    """Read an image from an open file, upright; see `read_upright`.

    Args:
        file: positioned at the start of the image.
        where: its name in error messages.

    Raises:
        ValueError: if it is not an image, or is damaged or too large.
    """
    data = file.read(MAX_BYTES)
    try:
        return read_upright(data)
    except ValueError as error:
        other = '' if is_image(data) else kind_of(data)
        text = f'{where} is {other}; expected {", ".join(KINDS)}' if other else f'{where}: {error}'
        raise ValueError(text) from None


def read_upright(data: bytes) -> CameraImage:
    """Read an image as viewers show it: turned by its EXIF orientation.

    Raises:
        ValueError: if it is not an image, or is damaged or too large.
    """
    image = read_compressed_image(CompressedImage('', np.frombuffer(data, np.uint8)), MAX_PIXELS)
    return upright(image, exif_orientation(data))


def read_frame(message: RawImage | CompressedImage) -> CameraImage:
    """Read a frame of a clip, upright; OpenCV turns those of videos itself.

    Raises:
        ValueError: see `read_upright`.
    """
    if isinstance(message, CompressedImage):
        return read_upright(message.data.tobytes())
    return read_message(message)


def find_inputs(paths: Sequence[Path], track: bool = False) -> list[Still | Clip]:
    """Return the images and videos that paths name, each once, in their order.

    Args:
        paths: image files, videos, and folders, whose images are taken in the order of
            `image_files`; folders inside are not searched.
        track: whether things are tracked; a folder of images is then one clip.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if a path is none of these, a folder holds no image, a video cannot be read,
            or a single image is to be tracked.
    """
    found: dict[str, tuple[Path, Video | ImageFolder | None]] = {}
    for path in paths:
        for file, source in _open(path, track):
            found.setdefault(_absolute(file), (file, source))
    names = [os.path.basename(place) for place in found]  # noqa: PTH119
    if len(set(names)) < len(names):
        root = os.path.commonpath({os.path.dirname(place) for place in found})  # noqa: PTH120
        start = len(os.path.join(root, ''))  # noqa: PTH118
        names = [place[start:] for place in found]
    return [
        Still(path, name) if source is None else Clip(path, name, source)
        for name, (path, source) in zip(names, found.values(), strict=True)
    ]


def _open(path: Path, track: bool) -> Iterator[tuple[Path, Video | ImageFolder | None]]:
    """Yield the files that a path names, and the source of each clip."""
    if path.is_dir():
        files = image_files(path)
        if not files:
            kind = 'is a bag' if any(map(bag_folder.is_storage, path.iterdir())) else ''
            raise ValueError(
                f'{path} {kind}; `panoptic replay` reads bags'
                if kind
                else f'{path} holds no image; images are named {", ".join(folders.ENDINGS)}, and '
                'folders inside are not searched'
            )
        if track:
            yield path, ImageFolder(path)
        else:
            yield from ((file, None) for file in files)
        return
    if not path.exists():
        raise FileNotFoundError(f'no image, folder or video at {path}{near_name(path)}')
    ending = path.suffix.lower()
    if ending in videos.ENDINGS:
        yield path, Video(path)
        return
    if ending not in folders.ENDINGS:
        require_file(path, 'an image or a video')
        _require_regular(path)
        with path.open('rb') as file:
            start = file.read(16)
        if not is_image(start):
            raise ValueError(
                f'{path} is {kind_of(start) or "of an unknown format"}; expected an image '
                f'({", ".join(KINDS)}) or a video ({", ".join(videos.ENDINGS[:4])}, ...)'
            )
    if track:
        raise ValueError(
            f'only things in a video or in a folder of images can be tracked; {path} is one image'
        )
    yield path, None


def _require_regular(path: Path) -> None:
    """Refuse a pipe or a device, whose opening might wait forever."""
    if not path.is_file():
        raise ValueError(
            f'{path} is a pipe or a device, expected a file; - reads an image from standard input'
        )


def _absolute(path: Path) -> str:
    """Return an absolute path without `..`, which would lead out of the results."""
    return os.path.abspath(path)  # noqa: PTH100  (`resolve` would change names of links)


def _state(files: Sequence[Path], path: Path) -> list[str | int]:
    stats = [file.stat() for file in files]
    return [
        _absolute(path),
        sum(stat.st_size for stat in stats),
        max(stat.st_mtime_ns for stat in stats),
    ]
