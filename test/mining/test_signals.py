# SPDX-License-Identifier: Apache-2.0
"""Signals, ranking and choice, each against a slow version of its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import LABELS, make_tiny_model, paint_scene

import panoptic_ros
from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.mining.choose import choose_diverse, ranks, worth
from panoptic_ros.mining.signals import (
    bimodality,
    flipped_difference,
    layout,
    layout_distance,
    low_score,
    novelty,
    thing_embeddings,
)

FLOOR, WALL, BALL, BOX = range(4)


def frame_of(segment_map, classes, scores=None, embeddings=None):
    """A frame at the resolution of its image; things are balls and boxes."""
    segment_map = np.asarray(segment_map, np.uint16)
    rows = np.zeros(len(classes), segment_dtype(0 if embeddings is None else 2))
    rows['segment_id'], rows['class_id'] = list(classes), list(classes.values())
    rows['is_thing'] = LABELS.is_thing[rows['class_id']]
    rows['score'] = 0.5 if scores is None else scores
    if embeddings is not None:
        rows['embedding'] = embeddings
    return PanopticFrame(segment_map, rows, Geometry(segment_map.shape, segment_map.shape, 1), 0.0)


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'tiny.onnx'
    make_tiny_model(path)
    return panoptic_ros.load(path, device='cpu')


def test_a_mirrored_image_has_the_mirrored_result(predictor):
    """The tiny model is symmetric, except for its padding."""
    image = CameraImage(paint_scene(64, 128))
    assert flipped_difference(predictor, image, predictor.predict(image)) == 0


def test_a_result_that_is_not_mirrored_differs(predictor):
    image = CameraImage(paint_scene(64, 128))
    other = predictor.predict(CameraImage(paint_scene(64, 128)[:, ::-1].copy()))
    # The ball and the box, 32 x 32 px each, have changed places.
    assert flipped_difference(predictor, image, other) == pytest.approx(2 * 32 * 32 / (64 * 128))


def test_low_score():
    frame = frame_of([[1, 2]], {1: FLOOR, 2: BALL}, [0.9, 0.5])
    assert low_score(frame) == pytest.approx(0.3)
    assert low_score(frame_of([[0, 0]], {})) == 1


@given(st.lists(st.floats(0, 1, width=32), max_size=12))
@settings(max_examples=200, deadline=None)
def test_bimodality_is_that_of_the_best_division(scores):
    values = sorted(scores)
    best = 0.0
    for n in range(1, len(values)):
        low, high = values[:n], values[n:]
        mean = np.mean(values)
        between = (
            n * (np.mean(low) - mean) ** 2 + (len(values) - n) * (np.mean(high) - mean) ** 2
        ) / len(values)
        best = max(best, 2 * np.sqrt(between))
    assert bimodality(np.array(scores, np.float32)) == pytest.approx(best, abs=1e-5)


def test_bimodality_lies_in_0_to_1():
    assert bimodality(np.array([0, 0, 1, 1.0])) == pytest.approx(1)
    assert bimodality(np.array([0.7, 0.7, 0.7])) == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_layout_counts_classes_by_field(seed):
    rng = np.random.default_rng(seed)
    frame = frame_of(rng.integers(0, 5, rng.integers(4, 20, 2)), {i + 1: i for i in range(4)})
    expected = np.zeros((4, 4, 5))
    semantic = frame.semantic_map
    height, width = semantic.shape
    for y in range(height):
        for x in range(width):
            class_id = semantic[y, x]
            place = 4 if class_id == VOID_ID else class_id
            expected[y * 4 // height, x * 4 // width, place] += 1
    found = layout(frame, 4)
    assert found == pytest.approx(np.sqrt(expected / semantic.size).ravel(), abs=1e-6)
    assert found @ found == pytest.approx(1)


def test_layouts_without_a_common_class_are_furthest_apart():
    floor, wall = (layout(frame_of(np.ones((8, 8)), {1: c}), 4) for c in (FLOOR, WALL))
    both = np.stack([floor, wall])
    assert layout_distance(floor, both) == pytest.approx([0, 1], abs=1e-3)


def test_novelty_is_the_mean_distance_to_the_nearest():
    known = np.array([[1, 0], [0, 1]], np.float32)
    frame = frame_of(
        [[1, 2, 3]], {1: BALL, 2: BOX, 3: FLOOR}, embeddings=[[2, 0], [-3, 0], [5, 5]]
    )
    found = thing_embeddings(frame)
    assert found.tolist() == [[1, 0], [-1, 0]]  # unit vectors of the things alone
    # Cosine distances 0 and 1 (to the second one), halved.
    assert novelty(found, known) == pytest.approx(0.25)
    assert novelty(found[:0], known) == 0


def test_ranks_and_worth():
    assert ranks(np.array([3.0, 1, 2, 2])).tolist() == [1, 0, 1 / 3, 1 / 3]
    assert ranks(np.zeros(4)).tolist() == [0, 0, 0, 0]
    frames = [{'a': 0.1, 'b': 0.0}, {'a': 0.2, 'b': 0.0}, {'a': 0.3, 'b': 9.0}]
    assert worth(frames).tolist() == [0, 0.25, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_the_choice_is_greedy(seed, count):
    rng = np.random.default_rng(seed)
    layouts = rng.random((count, 6))
    layouts /= np.linalg.norm(layouts, axis=1, keepdims=True)
    score = rng.random(count)
    expected: list[int] = []
    for _ in range(count):
        gains = []
        for i in range(count):
            near = min((np.sqrt(max(1 - layouts[i] @ layouts[j], 0)) for j in expected), default=1)
            gains.append(-1 if i in expected else (score[i] + 1e-3) * near)
        expected.append(int(np.argmax(gains)))
    assert list(choose_diverse(score, layouts)) == expected


def test_equal_layouts_are_chosen_once():
    layouts = np.array([[1, 0], [1, 0], [0, 1.0]])
    assert list(choose_diverse(np.array([0.5, 0.9, 0.1]), layouts)) == [1, 2]
