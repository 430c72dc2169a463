# SPDX-License-Identifier: Apache-2.0
"""Table of a suite's recordings as a Parquet file."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import atomic_write
from panoptic_ros.suite.merge import DROPS, FRAMES

TEXTS = ('name', 'path', 'error', 'host')
COUNTS = (*FRAMES, 'scored', 'id_switches', 'tracks', *DROPS)


def has_parquet() -> bool:
    """Return whether the package that writes Parquet files is installed."""
    return find_spec('pyarrow') is not None


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a row for each recording; nothing without pyarrow.

    Args:
        rows: of `merge_outcomes`.
        path: of the file.
    """
    if not has_parquet():
        return
    import pyarrow
    from pyarrow.parquet import write_table as write

    def kind(column: str) -> Any:
        if column == 'tags':
            return pyarrow.list_(pyarrow.string())
        if column in TEXTS:
            return pyarrow.string()
        return pyarrow.int64() if column in COUNTS else pyarrow.float64()

    schema = pyarrow.schema([(column, kind(column)) for column in rows[0]])
    with atomic_write(path) as temporary:
        write(pyarrow.Table.from_pylist(list(rows), schema=schema), temporary)
