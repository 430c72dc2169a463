# SPDX-License-Identifier: Apache-2.0
"""Pictures of predictions next to the ground truth."""

import numpy as np
from tiny_model import LABELS

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.sample import Sample
from panoptic_training.trainer.pictures import SHADES, paint, panel

FLOOR, WALL, BALL, BOX = range(4)
WHITE = [255, 255, 255]


def test_stuff_has_its_colour_and_void_is_black():
    picture = paint(np.array([[0, 1, 2]]), {1: FLOOR, 2: WALL}, LABELS)
    assert picture.tolist() == [[[0, 0, 0], [0, 255, 0], [200, 200, 200]]]
    assert picture.dtype == np.uint8


def test_things_have_shades_and_a_white_edge():
    segment_map = np.zeros((6, 12), np.int32)
    segment_map[1:5, 1:5] = 1
    segment_map[1:5, 5:9] = 2
    picture = paint(segment_map, {1: BALL, 2: BALL}, LABELS)
    inner = [picture[3, 3].tolist(), picture[3, 7].tolist()]
    assert inner == [[int(255 * SHADES[1]), 0, 0], [int(255 * SHADES[2]), 0, 0]]
    assert inner[0] != inner[1], 'neighbours can be told apart'
    assert picture[3, 1].tolist() == picture[3, 5].tolist() == picture[1, 3].tolist() == WHITE
    assert picture[3, 9].tolist() == WHITE and picture[3, 10].tolist() == [0, 0, 0]


def test_edges_are_drawn_around_things_only():
    picture = paint(np.array([[1, 1, 2, 2]]), {1: FLOOR, 2: WALL}, LABELS)
    assert WHITE not in picture[0].tolist()


def test_an_image_without_segments_is_black():
    assert (paint(np.zeros((3, 4), np.int32), {}, LABELS) == 0).all()


def test_a_panel_shows_image_prediction_and_truth():
    class_map = np.full((4, 6), FLOOR, np.uint8)
    class_map[:, 0] = VOID_ID
    sample = Sample(np.full((4, 6, 3), 9, np.uint8), class_map, np.zeros((4, 6), np.int32))
    segments = np.zeros(1, segment_dtype(2))
    segments['segment_id'], segments['class_id'] = 3, WALL
    frame = PanopticFrame(
        np.full((2, 3), 3, np.uint16), segments, Geometry((4, 6), (4, 6), stride=2), 0.0
    )
    picture = panel(sample, frame, LABELS)
    assert picture.shape == (4, 18, 3)
    assert (picture[:, :6] == 9).all()
    assert (picture[:, 6:12] == 200).all()
    assert (picture[:, 12] == 0).all() and (picture[:, 13:] == [0, 255, 0]).all()
