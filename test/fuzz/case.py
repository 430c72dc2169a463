# SPDX-License-Identifier: Apache-2.0
"""Cases and targets: what is read in one try, and what reads and judges it."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

CANARY = 'canary'
"""Name in the working folder of what code or SQL in a case would create if it ran: `os.mkdir` in
pickles and YAML tags, `ATTACH` in SQL."""

_TRUTH = 'truth.json'
_STAMP = (1980, 1, 1, 0, 0, 0)


@dataclass
class Case:
    """Input of one try."""

    files: dict[str, bytes]
    """Content by path below the folder of the try; empty for messages, which are in `truth`."""

    truth: dict[str, Any] = field(default_factory=dict)
    """Plain values for the check. With `intact` a refusal is a finding."""

    links: dict[str, str] = field(default_factory=dict)
    """Targets of symbolic links, by path."""

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for name, to in self.links.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(to)

    def pack(self) -> bytes:
        """Return the case as a zip file, the same bytes each time."""
        out = io.BytesIO()
        entries = {f'files/{name}': data for name, data in sorted(self.files.items())}
        truth = {'truth': self.truth, 'links': self.links}
        entries[_TRUTH] = json.dumps(truth, sort_keys=True, indent=1).encode()
        with zipfile.ZipFile(out, 'w') as archive:
            for name, data in entries.items():
                archive.writestr(zipfile.ZipInfo(name, _STAMP), data, zipfile.ZIP_LZMA)
        return out.getvalue()

    @classmethod
    def unpack(cls, path: Path) -> 'Case':
        """Read what `pack` returned."""
        with zipfile.ZipFile(path) as archive:
            files = {
                name.removeprefix('files/'): archive.read(name)
                for name in archive.namelist()
                if name != _TRUTH
            }
            rest = json.loads(archive.read(_TRUTH))
        return cls(files, rest['truth'], rest['links'])


class Wrong(Exception):
    """A result that is silently wrong."""


@dataclass(frozen=True)
class Target:
    """A reader of the package under test."""

    name: str

    make: Callable[[Random], Case]
    """Makes a case, valid or mutated, from random numbers only."""

    check: Callable[[Case, Path], None]
    """Reads the case, whose files are in the folder, and compares the result with a slow reader
    or with what is known of the case. Raises one of `errors` if the package refuses it, and
    `Wrong` if the result is wrong."""

    errors: tuple[type[Exception], ...] = (ValueError, OSError)
    """The reader's documented errors."""

    passes_on: bool = False
    """Whether errors of libraries are documented too, as those of Lightning for a recipe."""


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change by path, of everything in a folder."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            state = path.lstat()
            found[str(path)] = (state.st_size, state.st_mtime_ns) if name in files else (0, 0)
    return found
