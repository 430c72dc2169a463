# SPDX-License-Identifier: Apache-2.0
"""Folders of images as image sources."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.recordings.folder import ImageFolder


def fill(folder: Path, *names: str) -> Path:
    """Write images whose grey value is their index."""
    folder.mkdir()
    for place, name in enumerate(names):
        data = cv2.imencode(Path(name).suffix.lower(), np.full((9, 12, 3), place, np.uint8))[1]
        (folder / name).write_bytes(data.tobytes())
    return folder


def greys(folder: ImageFolder, count: int = 99) -> list[int]:
    return [
        int(cv2.imdecode(picture.image.data, cv2.IMREAD_COLOR).max())
        for picture in islice(folder.images(), count)
    ]


@pytest.mark.parametrize(
    'names',
    [
        ('1.png', '2.png', '10.png'),  # by value
        ('a1.png', 'a2.PNG', 'a10.jpg', 'b1.bmp', 'b2.webp'),
        ('frame_0009.tif', 'frame_10.tiff', 'frame_0011.jpeg'),
        ('img.png', 'img1.png'),
    ],
)
def test_images_come_in_the_order_of_their_names(tmp_path, names):
    folder = ImageFolder(fill(tmp_path / 'photos', *names))
    (tmp_path / 'photos' / 'notes.txt').touch()
    found = [file.name for file in folder.files]
    assert sorted(found) == sorted(names)
    assert found[0] == names[0]
    assert [picture.time_s for picture in folder.images()] == pytest.approx(
        np.arange(len(names)) / 10
    )
    assert folder.compressed and folder.duration_s == pytest.approx(len(names) / 10)


def test_names_that_are_stamps_are_the_times(tmp_path):
    start = 1_317_000_000_000_000_000
    folder = ImageFolder(
        fill(
            tmp_path / 'photos', *(f'{start + step}.png' for step in (0, 50_000_000, 150_000_001))
        )
    )
    assert folder.start_ns == start
    assert [round(picture.time_s * 1e9) for picture in folder.images()] == [
        0,
        50_000_000,
        150_000_001,
    ]
    assert folder.rate_hz == pytest.approx(2 / 0.15)


def test_a_looped_folder_starts_anew(tmp_path):
    folder = ImageFolder(fill(tmp_path / 'photos', '1.png', '2.png', '3.png'), loop=True)
    assert greys(folder, 7) == [0, 1, 2, 0, 1, 2, 0]
    times = [picture.time_s for picture in islice(folder.images(), 7)]
    assert times == pytest.approx(np.arange(7) / 10)
    assert folder.duration_s is None


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder of images at'):
        ImageFolder(tmp_path / 'none')
    (tmp_path / '.hidden.png').touch()
    with pytest.raises(ValueError, match=r'holds no image; images are named \.jpg'):
        ImageFolder(tmp_path)


def test_numbers_that_are_too_large_for_a_time_are_names(tmp_path):
    for digit in '12':
        (tmp_path / f'{digit * 40}.png').write_bytes(b'x')
    folder = ImageFolder(tmp_path)
    assert (folder.start_ns, folder.times_ns) == (0, [0, 100_000_000])
