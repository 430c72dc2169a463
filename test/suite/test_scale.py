# SPDX-License-Identifier: Apache-2.0
"""A thousand recordings: processes stay busy, and the driver's memory does not grow."""

import pytest
from suite_scale import measure

pytest.importorskip('matplotlib', reason='reports are drawn by it')


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_thousand_recordings(tmp_path):
    found = measure(tmp_path, 1000)
    print(found)
    assert found.ratio < 1.2
    first, most = found.memory_mb
    assert most < first + 40
