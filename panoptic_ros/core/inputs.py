# SPDX-License-Identifier: Apache-2.0
"""Checks of input files and folders, with messages that say what a path is instead."""

from pathlib import Path

from panoptic_ros.core.text import did_you_mean

FIRST_BYTES = {
    b'PK\x03\x04': 'a zip archive, as checkpoints of `panoptic train` are',
    b'\x89PNG': 'a PNG image',
    b'\xff\xd8\xff': 'a JPEG image',
    b'SQLite format 3': 'an SQLite database, as .db3 bags are',
    b'\x89MCAP': 'an MCAP bag',
    b'#ROSBAG': 'a ROS 1 bag',
    b'\x1f\x8b': 'a gzip archive',
    b'\x28\xb5\x2f\xfd': 'compressed with zstd',
}
"""Kinds of files that users confuse, by their first bytes."""

HEIF_BRANDS = (b'heic', b'heix', b'mif1', b'msf1', b'avif', b'avis')
"""Bytes 8 to 12 of images in the container HEIF, which phones write."""

CHECKPOINT = 'hf:'
"""Start of a text that names a checkpoint of Hugging Face in place of a model file."""

MAX_NAMES = 5
"""Most names of files in a message."""


def require_file(path: Path, kind: str) -> None:
    """Refuse a path that is not a file with content.

    Args:
        path: given by the user.
        kind: of the expected file, with its article: 'a model file'.

    Raises:
        FileNotFoundError: if there is nothing; names a similar file beside it.
        IsADirectoryError: for a folder.
        ValueError: for an empty file.
    """
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder, expected {kind}')
    if not path.exists():
        raise FileNotFoundError(f'no {kind.partition(" ")[2]} at {path}{near_name(path)}')
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f'{path} is empty, expected {kind}')


def require_folder(path: Path, kind: str) -> None:
    """Refuse a path that is not a folder.

    Args:
        path: given by the user.
        kind: of the folder, without an article: 'folder of ground truth'.

    Raises:
        FileNotFoundError: if there is nothing; names a similar one beside it.
        NotADirectoryError: for a file.
    """
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(f'{path} is a file, expected a {kind}')
    raise FileNotFoundError(f'no {kind} at {path}{near_name(path)}')


def kind_of(start: bytes) -> str:
    """Return what a file is by its first bytes, for messages; empty if they are not known."""
    if start[4:8] == b'ftyp' and start[8:12] in HEIF_BRANDS:
        return 'a HEIC or AVIF image'
    return next((kind for first, kind in FIRST_BYTES.items() if start.startswith(first)), '')


def near_name(path: Path) -> str:
    """Return what helps to find a missing file: a similar name, or what its folder holds."""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        return f'; check the path: {path.parent} is not a folder that can be read'
    near = did_you_mean(path.name, names, 0.8)  # endings are similar anyway
    if near:
        return near
    more = f' and {len(names) - MAX_NAMES} more' if len(names) > MAX_NAMES else ''
    return f'; check the path: its folder holds {", ".join(names[:MAX_NAMES]) or "nothing"}{more}'
