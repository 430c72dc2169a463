"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_bytes(data: bytes, path: Path) -> None:
    """Writes a file under a temporary name and renames it."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(value: Any, path: Path, indent: int | None = 2) -> None:
    """Writes a JSON file the same way."""
    write_bytes((json.dumps(value, indent=indent) + '\n').encode(), path)
