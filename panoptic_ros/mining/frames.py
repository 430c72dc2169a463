# SPDX-License-Identifier: Apache-2.0
"""Camera frames of recordings, with the place that each comes from."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from panoptic_ros.core.image import CameraImage
from panoptic_ros.images.messages import header_stamp_ns, read_message
from panoptic_ros.node.topics import OWN_IMAGE_TOPICS
from panoptic_ros.recordings.image_topics import choose_cameras
from panoptic_ros.recordings.open import open_recording
from panoptic_ros.recordings.recording import Recording

HASHED_BYTES = 1 << 16
"""Bytes at the start of each file that enter a recording's identity."""


class Source(NamedTuple):
    """Place of a frame."""

    recording: int
    """Index among the recordings."""

    camera: str
    stamp_ns: int
    """Header stamp."""

    number: int
    """Number of the image among those of its camera, from 0."""


class RecordedFrame(NamedTuple):
    """A camera's image and its place."""

    source: Source
    image: CameraImage


@dataclass
class Recordings:
    """Recordings, opened, and counts of their images that cannot be read.

    Args:
        paths: see `open_recording`.
        topics: image topics; if empty, all with camera images.
        stride: read every n-th image of a camera.

    Raises:
        FileNotFoundError, ValueError: if one cannot be opened or has no camera images.
    """

    paths: Sequence[Path]
    topics: Sequence[str] = ()
    stride: int = 1

    def __post_init__(self) -> None:
        self.unreadable = 0
        """Images that could not be decoded, of the last reading."""
        self._opened: list[tuple[Recording, dict[str, str]]] = []
        for path in self.paths:
            recording = open_recording(path)
            cameras = choose_cameras(recording, self.topics, own_topics=OWN_IMAGE_TOPICS)
            self._opened.append((recording, cameras))
        self.names = unique_stems(self.paths)
        """A short name for each recording, for file names."""

    def count(self) -> int:
        """Return the number of frames, an estimate for damaged recordings."""
        return sum(
            -(-recording.topics[topic].messages // self.stride)
            for recording, cameras in self._opened
            for topic in cameras.values()
        )

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield the readable frames, one recording after the other."""
        self.unreadable = 0
        for place, (recording, cameras) in enumerate(self._opened):
            camera_of = {topic: camera for camera, topic in cameras.items()}
            numbers: Counter[str] = Counter()
            for record in recording.records(list(camera_of), recording.start_ns):
                camera = camera_of[record.topic]
                number = numbers[camera]
                numbers[camera] += 1
                if number % self.stride:
                    continue
                try:
                    if record.message is None:
                        raise ValueError(record.problem)
                    image = read_message(record.message)
                except ValueError:
                    self.unreadable += 1
                    continue
                source = Source(place, camera, header_stamp_ns(record.message), number)
                yield RecordedFrame(source, image)

    def file_stem(self, source: Source) -> str:
        """Return a file name for a frame, without suffix; it ends with the stamp."""
        camera = re.sub(r'\W+', '_', source.camera)
        return f'{self.names[source.recording]}_{camera}_{source.stamp_ns}'


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path that file names can hold; equal names get a part of a hash."""
    stems = [re.sub(r'[^\w-]+', '_', path.resolve().stem) or 'recording' for path in paths]
    return [
        f'{stem}_{identity_of(path)[:8]}' if stems.count(stem) > 1 else stem
        for stem, path in zip(stems, paths, strict=True)
    ]


def identity_of(path: Path) -> str:
    """Return a hash by which a recording is recognised, also as a copy under another name.

    It depends on size and first bytes of each file with data; a recording that was cut, converted
    or compressed again has another one.

    Args:
        path: a recording, see `open_recording`.
    """
    files = [path]
    if path.is_dir():
        files = [file for file in path.iterdir() if file.is_file() and file.suffix != '.yaml']
    parts = []
    for file in files:
        with file.open('rb') as stream:
            start = stream.read(HASHED_BYTES)
        parts.append(f'{file.stat().st_size} {hashlib.sha256(start).hexdigest()}')
    return hashlib.sha256('\n'.join(sorted(parts)).encode()).hexdigest()
