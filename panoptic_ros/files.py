"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to, with the same suffix; renames it at the end."""
    temporary = path.with_name(f'.{os.getpid()}.{path.name}')
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(data: bytes, path: Path) -> None:
    """Writes a file under a temporary name and renames it."""
    with whole(path) as temporary:
        temporary.write_bytes(data)


def write_json(value: Any, path: Path, indent: int | None = 2) -> None:
    """Writes a JSON file the same way."""
    write_bytes((json.dumps(value, indent=indent) + '\n').encode(), path)
