# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: it shows each image with its labels' colours and its name."""

import numpy as np

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_training.data.sample import Sample
from panoptic_training.data.show import LINE, TILE, contact_sheet, frame_of

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


def test_a_sample_as_a_frame():
    frame = frame_of(sample(), LABELS, tracks=True)
    np.testing.assert_array_equal(frame.semantic_map, sample().class_map)
    rows = {int(row['area']): row for row in frame.segments}
    assert sorted(rows) == [100, 200, 1500]
    car = rows[200]
    assert [car[name] for name in ('bbox_x', 'bbox_y', 'bbox_w', 'bbox_h')] == [10, 20, 20, 10]
    assert car['is_thing'] and car['track_id'] == 70_000 and rows[100]['track_id'] == 0
    assert not rows[1500]['is_thing'] and not rows[100]['is_thing'], 'a crowd is no thing'
    assert frame_of(sample(), LABELS).segments['track_id'].tolist() == [0, 0, 0]


def test_the_sheet_holds_all_and_keeps_void_as_it_is():
    reader = Few([sample(), sample((60, 40)), sample(), sample(), sample()], ((0, 1),))
    sheet = contact_sheet(reader, list(range(5)))
    height = round(40 * TILE[1] / 60)
    rows = max(height, TILE[0]) + LINE, height + LINE
    assert sheet.shape == (sum(rows) + LINE, 4 * TILE[1], 3) and sheet.dtype == np.uint8
    for x in (0, 2 * TILE[1], 3 * TILE[1]):
        assert (sheet[2, x + 200] == 100).all(), 'void'
        road = sheet[height * 5 // 12, x + 5].astype(int)
        assert road[0] > road[1] == road[2]
    portrait = sheet[:, TILE[1] : 2 * TILE[1]]
    width = round(40 * TILE[0] / 60)
    assert not portrait[: TILE[0], width + 1 :].any()
    assert portrait[: TILE[0], :width].any(axis=2).mean() > 0.95  # letters have black edges
    assert (sheet[-LINE // 2, 10] == (255, 0, 0)).all(), 'the legend'
