# SPDX-License-Identifier: Apache-2.0
"""Sums over the rows of a map, against masks taken one by one."""

import pytest
import torch

from panoptic_ros.models.parts import segments


def random_rows(height, width, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    row_map = torch.randint(0, rows + 1, (height, width), generator=generator, dtype=torch.int32)
    return torch.where(row_map == 2, 0, row_map), generator  # row 1 has no cell


@pytest.mark.parametrize('chunk', [64, 3])
def test_several_values_are_measured_as_one_by_one(monkeypatch, chunk):
    monkeypatch.setattr(segments, 'MOST_VALUES', chunk * 7 * 9)
    row_map, generator = random_rows(7, 9, 5)
    values = torch.randn(7, 9, 4, generator=generator)
    together = segments.measure(row_map, 5, values)
    for i in range(4):
        alone = segments.measure(row_map, 5, values[..., i])
        assert torch.allclose(together.mean[:, i], alone.mean)
        assert torch.equal(together.box, alone.box)
    for row in range(5):
        mask = row_map == row + 1
        assert together.area[row] == mask.sum()
        if mask.any():
            assert torch.allclose(together.mean[row], values[mask].mean(dim=0))
            y, x = mask.nonzero().T
            assert together.box[row].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            center = torch.stack([x, y]).float().mean(dim=1) + 0.5
            assert torch.allclose(together.centroid[row], center)


@pytest.mark.parametrize('chunk', [64, 3])
@pytest.mark.parametrize('ratio', [1, 2, 4])
def test_mask_mean_weighs_a_coarse_cell_by_the_part_covered(monkeypatch, ratio, chunk):
    monkeypatch.setattr(segments, 'MOST_VALUES', chunk * 8 * 12)
    row_map, generator = random_rows(8, 12, 5)
    feature = torch.randn(3, 8 // ratio, 12 // ratio, generator=generator)
    fine = feature.repeat_interleave(ratio, dim=1).repeat_interleave(ratio, dim=2)
    mean = segments.mask_mean(row_map, 5, feature)
    for row in range(5):
        mask = row_map == row + 1
        expected = fine[:, mask].mean(dim=1) if mask.any() else torch.zeros(3)
        assert torch.allclose(mean[row], expected, atol=1e-6)
