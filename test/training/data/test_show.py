# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: it shows each image with its labels' colours and its name."""

import numpy as np

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_training.data import show
from panoptic_training.data.sample import Sample
from panoptic_training.data.show import STYLE, TILE, contact_sheet

LINE = STYLE.line_px
LABELS = LabelSet((Label('road', False, (255, 0, 0), 1), Label('car', True, (0, 0, 255), 2)))


def sample(shape=(40, 60)):
    class_map, instance_map = np.zeros(shape, np.uint8), np.zeros(shape, np.int32)
    class_map[:10] = VOID_ID
    class_map[20:30, 10:30], instance_map[20:30, 10:30] = 1, 70_000
    class_map[35:, 40:] = 1  # a crowd
    return Sample(np.full((*shape, 3), 100, np.uint8), class_map, instance_map)


class Few:
    """A reader of samples in memory."""

    labels = LABELS

    def __init__(self, samples, clips=()):
        self.samples, self.clips = samples, clips

    def __len__(self):
        return len(self.samples)

    def read(self, index, epoch_seed):
        return self.samples[index]


def test_the_sheet_holds_all_and_keeps_void_as_it_is():
    reader = Few([sample(), sample((60, 40)), sample(), sample(), sample()], ((0, 1),))
    sheet = contact_sheet(reader, list(range(5)))
    height = round(40 * TILE[1] / 60)
    rows = max(height, TILE[0]) + LINE, height + LINE
    assert sheet.shape == (sum(rows) + LINE, 4 * TILE[1], 3) and sheet.dtype == np.uint8
    for x in (0, 2 * TILE[1], 3 * TILE[1]):
        assert (sheet[2, x + 200] == 100).all(), 'void'
        road = sheet[height * 5 // 12, x + 5]
        np.testing.assert_allclose(road, 0.55 * 100 + 0.45 * LABELS.colors[0], atol=1)
    portrait = sheet[:, TILE[1] : 2 * TILE[1]]
    width = round(40 * TILE[0] / 60)
    assert not portrait[: TILE[0], width + 1 :].any()
    assert portrait[: TILE[0], :width].any(axis=2).mean() > 0.95  # letters may be black
    assert (sheet[-LINE // 2, 10] == LABELS.colors[0]).all(), 'the legend'


def test_the_sheet_may_have_the_colours_of_the_data_set():
    sheet = contact_sheet(Few([sample()]), [0], own_colors=True)
    assert (sheet[-LINE // 2, 10] == (255, 0, 0)).all()


def test_a_long_name_ends_in_the_tile(monkeypatch):
    monkeypatch.setattr(show, 'name_of_sample', lambda reader, index: 'name' * 50)
    sheet = contact_sheet(Few([sample()]), [0])
    caption = sheet[-2 * LINE : -LINE]
    assert sheet.shape[1] == TILE[1] and caption.max() > 150 and caption[:, -3:].max() < 40
