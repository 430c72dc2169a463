# SPDX-License-Identifier: Apache-2.0
"""Contact sheet of a run."""

import numpy as np
import pytest

from panoptic_ros.recordings.contact_sheet import TILE_WIDTH, TILES, ContactSheet


def plain(grey: int, size=(36, 64)) -> np.ndarray:
    return np.full((*size, 3), grey, np.uint8)


@pytest.mark.parametrize(
    ('count', 'tiles', 'columns', 'rows'),
    [(1, 1, 1, 1), (2, 2, 2, 1), (5, 5, 3, 2), (12, 12, 3, 4), (13, 12, 3, 4), (500, 12, 3, 4)],
)
def test_a_contact_sheet_spreads_its_pictures(count, tiles, columns, rows):
    sheet = ContactSheet()
    for number in range(count):
        sheet.add(plain(1 + number * 254 // count))
    drawn = sheet.draw()
    assert drawn.shape == (rows * 360, columns * TILE_WIDTH, 3)
    greys = [
        int(drawn[y * 360 + 180, x * TILE_WIDTH + 320, 0])
        for y in range(rows)
        for x in range(columns)
    ]
    assert sum(grey > 0 for grey in greys) == tiles
    steps = np.diff(greys[:tiles])
    assert (steps > 0).all()  # like text, in time
    assert count < 100 or (greys[0] < 20 and steps.max() < 60 and greys[tiles - 1] > 180)


def test_a_contact_sheet_holds_few_pictures_of_a_long_run():
    sheet = ContactSheet()
    for _ in range(3000):
        sheet.add(plain(9, (4, 8)))
    assert len(sheet._tiles) < 2 * TILES


def test_a_contact_sheet_needs_a_picture():
    with pytest.raises(ValueError, match='at least one picture'):
        ContactSheet().draw()
