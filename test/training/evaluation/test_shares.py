# SPDX-License-Identifier: Apache-2.0
"""Division of the images of an evaluation among processes."""

import pytest

from panoptic_training.evaluation.shares import divide


@pytest.mark.parametrize('processes', [1, 2, 3, 7])
@pytest.mark.parametrize('whole', [False, True])
def test_each_image_goes_to_one_process(processes, whole):
    parts = [(0, 1, 2), (3, 4), (5,)]
    shares = divide(parts, processes, whole)
    assert len(shares) == processes
    together = [index for share in shares for part in share for index in part]
    assert sorted(together) == list(range(6))
    if whole:
        assert all(part in parts for share in shares for part in share)
    else:
        sizes = [sum(map(len, share)) for share in shares]
        assert max(sizes) - min(sizes) <= 1
