# SPDX-License-Identifier: Apache-2.0
"""A folder of images as an image source, in the order of the file names."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from panoptic_ros.core.inputs import require_folder
from panoptic_ros.recordings.image_source import NOTHING_BESIDE, CompressedImage, TimedImage
from panoptic_ros.recordings.storage import END_NS
from panoptic_ros.recordings.unpack import MAX_BYTES

ENDINGS = ('.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp')

RATE_HZ = 10.0
"""Rate of images whose names are no stamps."""

MIN_STAMP_NS = 10**15
"""Smallest number in a file name that counts as a stamp, nanoseconds since 1970; the largest is
what 64 bits hold."""


class ImageFolder:
    """The images of a folder, ordered by name with numbers by value: `2.jpg` before `10.jpg`.

    If all files are named by a stamp in ns (`1317000000000000000.png`), the stamps are the times
    of the images; otherwise the images follow each other at `RATE_HZ`.
    """

    compressed = True
    beside = NOTHING_BESIDE

    def __init__(self, path: Path, loop: bool = False) -> None:
        """List the files.

        Args:
            path: the folder.
            loop: whether the images start again after the last one.

        Raises:
            FileNotFoundError: if there is no folder.
            ValueError: if it holds no image.
        """
        require_folder(path, 'folder of images')
        self.files = image_files(path)
        if not self.files:
            raise ValueError(f'{path} holds no image; images are named {", ".join(ENDINGS)}')
        self.path, self.loop, self.name = path, loop, f'images in {path}'
        stems = [file.stem for file in self.files]
        count = len(stems)
        self.start_ns = 0
        self.times_ns = [round(place * 1e9 / RATE_HZ) for place in range(count)]
        if all(stem.isdecimal() and MIN_STAMP_NS <= int(stem) < END_NS for stem in stems):
            stamps = [int(stem) for stem in stems]
            self.start_ns = stamps[0]
            self.times_ns = [stamp - self.start_ns for stamp in stamps]
        span_s = self.times_ns[-1] / 1e9
        self.rate_hz = (count - 1) / span_s if span_s > 0 else RATE_HZ
        self.duration_s: float | None = None if loop else count / self.rate_hz

    def images(self) -> Iterator[TimedImage]:
        """See `ImageSource`; a file that cannot be read yields an image without data."""
        start_s = 0.0
        while True:
            for time_ns, file in zip(self.times_ns, self.files, strict=True):
                try:
                    data = np.fromfile(file, np.uint8, MAX_BYTES)
                except OSError:
                    data = np.empty(0, np.uint8)
                image = CompressedImage(file.suffix[1:].lower(), data)
                yield TimedImage(start_s + time_ns / 1e9, image)
            if not self.loop:
                return
            start_s += self.times_ns[-1] / 1e9 + 1 / self.rate_hz


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, ordered by name with numbers by value."""
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in ENDINGS and not file.name.startswith('.')
    ]
    return sorted(files, key=lambda file: (_natural(file.stem), file.name))


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), '') if part.isdecimal() else (-1, part)
        for part in re.split(r'(\d+)', name.lower())
        if part
    ]
