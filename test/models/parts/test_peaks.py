# SPDX-License-Identifier: Apache-2.0
"""Peaks, and the best match of each cell, compared with loops."""

import pytest
import torch

from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts import peaks, segments


@pytest.mark.parametrize(
    ('shape', 'window', 'top_k'),
    [
        ((1, 9, 11), 3, 6),
        ((3, 9, 11), 5, 40),  # more rows than peaks; each map separately
        ((2, 1, 7), 3, 4),  # one row
        ((1, 1, 1), 7, 5),  # fewer cells than K
    ],
)
def test_peaks_equal_a_search_cell_by_cell(shape, window, top_k):
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(shape, generator=generator)
    score[..., 0] = NEVER
    expected = []
    for c, y, x in (
        torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist()
        if score.numel() > 1
        else [(0, 0, 0)]
    ):
        reach = window // 2
        around = score[c, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        if score[c, y, x] == around.max() and score[c, y, x] > NEVER:
            expected.append((float(score[c, y, x]), (c * shape[1] + y) * shape[2] + x))
    values, places = peaks.find_peaks(score, window, top_k)
    found = [(v, p) for v, p in zip(values.tolist(), places.tolist(), strict=True) if v > NEVER]
    assert found == sorted(expected, reverse=True)[:top_k]
    assert len(values) == min(top_k, score.numel())


def test_best_match_is_the_same_in_chunks(monkeypatch):
    features, weights = torch.randn(50, 9), torch.randn(23, 9)
    at_once = peaks.best_match(features, weights)
    monkeypatch.setattr(segments, 'MOST_VALUES', 7 * 50)
    chunks = peaks.best_match(features, weights)
    assert torch.equal(at_once[1], chunks[1])
    assert torch.allclose(at_once[0], chunks[0])


@pytest.mark.parametrize(('height', 'width'), [(2048, 2048), (2048, 1), (1, 2048), (1999, 2017)])
def test_row_and_column_are_exact_on_the_largest_maps(height, width):
    place = torch.arange(height * width)
    row, column = peaks.row_and_column(place, width)
    assert torch.equal(row.long(), place // width)
    assert torch.equal(column.long(), place % width)
