# SPDX-License-Identifier: Apache-2.0
"""`sources.json` of a data set: the recording, camera and stamp of each of its images.

{"recordings": [{"path": "/data/drive", "identity": "<sha256>"}],
 "images": {"drive_front_1317000000000000000": [0, "front", 1317000000000000000]}}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panoptic_ros.core.coco_format import read_images
from panoptic_ros.core.coco_format import read_json as read_coco
from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import write_json
from panoptic_ros.mining.frames import identity_of

NAME = 'sources.json'


@dataclass
class Sources:
    """Contents of the file."""

    recordings: list[tuple[str, str]] = field(default_factory=list)
    """Path and identity of each recording, see `identity_of`."""

    images: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    """Index of the recording, camera and header stamp, ns, by file name without suffix."""

    def index_of(self, path: Path) -> int:
        """Return the index of a recording, which is added if it is new."""
        entry = str(path.resolve()), identity_of(path)
        for index, (_, identity) in enumerate(self.recordings):
            if identity == entry[1]:
                return index
        self.recordings.append(entry)
        return len(self.recordings) - 1

    def write(self, folder: Path) -> None:
        """Write the file into a folder."""
        write_json(
            {
                'recordings': [{'path': p, 'identity': i} for p, i in self.recordings],
                'images': self.images,
            },
            folder / NAME,
            indent=None,
        )


def read_sources(folder: Path) -> Sources:
    """Read the file of a data set.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: if it is damaged.
    """
    path = folder / NAME
    value: Any = read_json(path)
    try:
        recordings = [(str(one['path']), str(one['identity'])) for one in value['recordings']]
        images = {
            str(name): (int(index), str(camera), int(stamp))
            for name, (index, camera, stamp) in value['images'].items()
        }
        if any(not 0 <= index < len(recordings) for index, _, _ in images.values()):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(
            f'{path} is damaged: expected recordings and images as `panoptic mine` and '
            '`panoptic data from-recording` write them'
        ) from None
    return Sources(recordings, images)


def validation_identities(given: Sequence[str]) -> dict[str, str]:
    """Return the identities of recordings that validation uses, each with what the user gave.

    Args:
        given: recordings; or data sets of `panoptic data from-recording` and `panoptic mine`,
            `coco:<folder>` or the folder alone, of which the images in val.json count.

    Raises:
        FileNotFoundError: if a path does not exist, or a data set does not record its sources.
        ValueError: if a file is damaged.
    """
    found: dict[str, str] = {}
    for text in given:
        kind, colon, rest = text.partition(':')
        folder = Path(rest if colon and kind.isalnum() and not Path(text).exists() else text)
        if not folder.exists():
            raise FileNotFoundError(f'--val {text}: {folder} does not exist')
        if (folder / NAME).is_file() or folder != Path(text):
            found |= dict.fromkeys(_used_in_val(folder, text), text)
        else:
            found[identity_of(folder)] = text
    return found


def _used_in_val(folder: Path, text: str) -> list[str]:
    """Return the identities of the recordings of a data set's validation images."""
    if not (folder / NAME).is_file():
        raise FileNotFoundError(
            f'--val {text}: the data set has no {NAME}, so its recordings are not known; name '
            'them: --val RECORDING ...'
        )
    sources = read_sources(folder)
    listed = folder / 'val.json'
    images = read_images(read_coco(listed, 'images'), listed)
    stems = {Path(image.file_name).stem for image in images.values()}
    unknown = sorted(stems - set(sources.images))
    if unknown:
        raise ValueError(
            f'--val {text}: {folder / NAME} has no source for {unknown[0]} ({len(unknown)} such); '
            'name the recordings: --val RECORDING ...'
        )
    return [sources.recordings[sources.images[stem][0]][1] for stem in stems]


def leave_out(paths: Sequence[Path], used: Mapping[str, str]) -> tuple[list[Path], list[str]]:
    """Divide recordings into those to read, and lines about those that validation uses.

    Raises:
        ValueError: if none remains.
    """
    kept, lines = [], []
    for path in paths:
        text = used.get(identity_of(path))
        if text is None:
            kept.append(path)
        else:
            lines.append(f'left out {path}: the validation set {text} uses it')
    if not kept:
        raise ValueError(f'no recording remains; {lines[0]}')
    return kept, lines
