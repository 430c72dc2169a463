# SPDX-License-Identifier: Apache-2.0
"""Table of recordings as a Parquet file."""

import pytest
from suite_runs import rows_of

from panoptic_ros.suite.table import write_table

parquet = pytest.importorskip(
    'pyarrow.parquet', reason='needs pyarrow: pip install "panoptic_ros[fleet]"'
)


def test_rows_are_those_of_the_lines(finished, tmp_path):
    rows = rows_of(finished)
    rows += [{**dict.fromkeys(rows[0]), 'name': 'broken', 'tags': [], 'error': 'no bag'}]
    write_table(rows, tmp_path / 'table.parquet')
    assert parquet.read_table(tmp_path / 'table.parquet').to_pylist() == rows
