# SPDX-License-Identifier: Apache-2.0
"""Pasting and merging of masks against loops over cells."""

import pytest
import torch
import torch.nn.functional as F

from panoptic_ros.models.parts.mask_rcnn.masks import first_row, inside, keep_uncovered, paste


def slow_paste(values, box, size):
    """Paste bilinearly by definition: bins are sampled at their centres, clamped at the edge."""
    bins, (x1, y1, x2, y2) = values.shape[0], box
    out = torch.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row + 0.5, column + 0.5
            if not (y1 < y < y2 and x1 < x < x2):
                continue
            v = min(max((y - y1) / (y2 - y1) * bins - 0.5, 0), bins - 1)
            u = min(max((x - x1) / (x2 - x1) * bins - 0.5, 0), bins - 1)
            for j in range(bins):
                for i in range(bins):
                    out[row, column] += (
                        max(0, 1 - abs(v - j)) * max(0, 1 - abs(u - i)) * values[j, i]
                    )
    return out


@pytest.mark.parametrize(
    ('box', 'why'),
    [
        ((2.0, 1.0, 9.0, 7.0), 'on the grid'),
        ((2.3, 1.6, 9.1, 6.2), 'between cells'),
        ((0.0, 0.0, 12.0, 8.0), 'the whole image'),
        ((4.1, 3.1, 5.4, 4.4), 'about one cell'),
        ((6.0, 3.0, 6.0, 3.0), 'nothing: a row without a detection'),
        ((11.2, 5.5, 12.0, 8.0), 'in the corner'),
    ],
)
def test_paste_is_bilinear_inside_the_box_and_zero_outside(box, why):
    values = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([box, (0.0, 0.0, 3.0, 3.0)])
    out = paste(values, boxes, (8, 12))
    torch.testing.assert_close(out[0], slow_paste(values[0], box, (8, 12)), msg=why)
    torch.testing.assert_close(out[1], slow_paste(values[1], (0, 0, 3, 3), (8, 12)))
    assert torch.equal(inside(boxes, (8, 12))[0], slow_paste(torch.ones(1, 1), box, (8, 12)) > 0)


def test_paste_on_whole_cells_is_torchs_resize():
    values = torch.randn(1, 28, 28)
    out = paste(values, torch.tensor([[3.0, 2.0, 20.0, 13.0]]), (16, 24))
    expected = F.interpolate(values[None], size=(11, 17), mode='bilinear')[0, 0]
    torch.testing.assert_close(out[0, 2:13, 3:20], expected)


@pytest.mark.parametrize('limit', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('seed', range(4))
def test_keep_uncovered_equals_the_loop(seed, limit):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(9, 30, generator=generator) < 0.2
    mask[4] = False
    alive = torch.rand(9, generator=generator) < 0.8
    group = torch.randint(0, 2, (9,), generator=generator)
    kept = []
    for i in range(9):
        covered = torch.zeros(30, dtype=torch.bool)
        for j in kept:
            if group[j] == group[i]:
                covered |= mask[j]
        if alive[i] and mask[i].any() and (mask[i] & covered).sum() <= limit * mask[i].sum():
            kept.append(i)
    one_hot = (group[:, None] == torch.arange(int(group.max()) + 1)).float()
    keep = keep_uncovered(mask.float(), alive, torch.tensor(limit), one_hot)
    assert torch.nonzero(keep)[:, 0].tolist() == kept


def test_first_row_wins():
    mask = torch.zeros(3, 1, 4, dtype=torch.bool)
    mask[0, 0, :2] = mask[1, 0, 1:3] = mask[2, 0, 2] = True
    assert first_row(mask).tolist() == [[1, 1, 2, 0]]
