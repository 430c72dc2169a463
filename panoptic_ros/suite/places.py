# SPDX-License-Identifier: Apache-2.0
"""Places of recordings: paths, patterns and URLs, and the names of the recordings there."""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from panoptic_ros.core.stores import is_url, open_store
from panoptic_ros.core.text import one_line
from panoptic_ros.recordings import bag_folder, video

ENDINGS = (*bag_folder.ENDINGS, *video.ENDINGS)

WILD = re.compile(r'[*?\[]')
"""A wildcard of a pattern."""


class Place(NamedTuple):
    """Where a recording is."""

    name: str
    path: str
    """Absolute path or URL."""


def find_places(path: str, folder: Path, name: str) -> list[Place]:
    """Find the recordings that a path, a pattern (`drives/*/bag`) or a URL of either names.

    Args:
        path: as in the suite file.
        folder: folder that relative paths start from.
        name: name of the recording; of a pattern, the first part of its recordings' names. If
            empty, recordings have the names of their files, or the part of their paths that
            differs in a pattern.

    Returns:
        The recordings, sorted by path.

    Raises:
        ValueError: if a pattern matches nothing or a store cannot be opened.
    """
    full = path if is_url(path) else str(folder / Path(path).expanduser())
    if not WILD.search(path):
        return [Place(_clean(name or _stem(PurePosixPath(full).name)), full)]
    if is_url(path):
        store, pattern = open_store(path)
        try:
            found = sorted(str(store.unstrip_protocol(item)) for item in store.glob(pattern))
        except Exception as error:  # each store has errors of its own
            raise ValueError(f'{path} cannot be listed: {one_line(error)}') from None
    else:
        found = sorted(map(str, Path('/').glob(full.lstrip('/'))))
    if not found:
        raise ValueError(f'path {one_line(path)} matches nothing')
    fixed = len(PurePosixPath(full[: _first_wildcard(full)] + 'x').parts) - 1
    return [
        Place(_clean('_'.join([*filter(None, [name]), *_stem_parts(item, fixed)])), item)
        for item in found
    ]


def _first_wildcard(pattern: str) -> int:
    match = WILD.search(pattern)
    assert match
    return match.start()


def _stem_parts(path: str, fixed: int) -> list[str]:
    """Return the parts of a path after those that a pattern fixes, the last without its ending."""
    *parts, last = PurePosixPath(path).parts[fixed:]
    return [*parts, _stem(last)]


def _stem(file: str) -> str:
    """Return the name of a file without the ending of a recording."""
    lower = file.lower()
    return next((file[: -len(end)] for end in ENDINGS if lower.endswith(end)), file)


def _clean(name: str) -> str:
    """Return a name as that of a folder."""
    return re.sub(r'[^\w.-]+', '_', name).strip('._') or 'recording'
