# SPDX-License-Identifier: Apache-2.0
"""From a camera image to a frame, with a model whose outputs are known."""

import dataclasses

import numpy as np
import pytest
from tiny_model import LABELS, ROW_SCORE, make_tiny_model, paint_scene, tiny_info

from panoptic_ros import PanopticFrame
from panoptic_ros.core.frame import Geometry, keep_segments, without_unknown
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import Outputs
from panoptic_ros.runtime.load import load
from panoptic_ros.runtime.predictor import Predictor, to_frame


@pytest.fixture(scope='module')
def predictor(tiny_model) -> Predictor:
    return load(tiny_model, 'onnxruntime', 'cpu')


def confidence_of(frame: PanopticFrame) -> np.ndarray:
    """Return the confidence that each cell has with the tiny model."""
    expected = np.zeros(frame.geometry.map_size, np.uint8)
    for row in frame.segments:
        mask = frame.segment_map == row['segment_id']
        expected[mask] = int(255 * ROW_SCORE[row['segment_id'] - 1])
    return expected


def check_rows_fit_map(frame: PanopticFrame) -> None:
    """Compare box, centroid and area of each row with the map."""
    assert sorted(np.unique(frame.segment_map[frame.segment_map > 0])) == list(
        frame.segments['segment_id']
    )
    per_y, per_x = frame.geometry.px_per_cell
    height, width = frame.geometry.image_size
    for row in frame.segments:
        y, x = np.nonzero(frame.segment_map == row['segment_id'])
        assert row['area'] == pytest.approx(len(y) * per_y * per_x, abs=0.5)
        assert row['bbox_x'] == pytest.approx(x.min() * per_x, rel=1e-5)
        assert row['bbox_y'] == pytest.approx(y.min() * per_y, rel=1e-5)
        assert row['bbox_x'] + row['bbox_w'] == pytest.approx(
            min((x.max() + 1) * per_x, width), rel=1e-5
        )
        assert row['bbox_y'] + row['bbox_h'] == pytest.approx(
            min((y.max() + 1) * per_y, height), rel=1e-5
        )
        assert row['u'] == pytest.approx((x + 0.5).mean() * per_x, rel=1e-5)
        assert row['v'] == pytest.approx((y + 0.5).mean() * per_y, rel=1e-5)


@pytest.mark.parametrize(
    ('image', 'got'),
    [
        (None, 'got None; '),  # from cv2.imread
        ('street.jpg', "got 'street.jpg'; read a file with cv2.imread"),
        ([[0, 0, 0]], r'got \[\[0, 0, 0\]\]; '),
        (CameraImage(None, 'bgr'), 'got CameraImage'),
    ],
)
def test_other_types_than_images_are_refused(predictor, image, got):
    with pytest.raises(TypeError, match=r'expects an image as \(H, W, 3\) uint8 .*' + got):
        predictor.predict(image)


def test_a_known_scene(predictor):
    frame = predictor.predict(CameraImage(paint_scene(640, 1280)), 12.5)
    rows = frame.segments
    assert frame.stamp_s == 12.5
    assert [LABELS.names[i] for i in rows['class_id']] == ['floor', 'wall', 'ball', 'box']
    assert rows['segment_id'].tolist() == [1, 2, 3, 6]
    assert rows['is_thing'].tolist() == [0, 0, 1, 1]
    assert rows['score'] == pytest.approx([0.9, 0.8, 0.95, 0.65])
    ball = rows[2]
    assert [ball[f'bbox_{name}'] for name in 'xywh'] == [160, 160, 320, 320]
    assert (ball['u'], ball['v'], ball['area']) == (320, 320, 320 * 320)
    assert np.isnan([rows['x'], rows['y'], rows['z']]).all()
    assert not rows['track_id'].any() and not rows['state'].any() and not rows['age'].any()
    assert np.linalg.norm(rows['embedding'], axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    check_rows_fit_map(frame)


@pytest.mark.parametrize(
    'size',
    [
        (640, 1280),  # the input's own shape
        (720, 1280),  # padding right, into which the wall's segment extends
        (375, 1242),  # padding below, and cells that are half outside
        (64, 64),
        (37, 53),
        (1, 1),
    ],
)
def test_rows_describe_segments_without_padding(predictor, size):
    frame = predictor.predict(CameraImage(paint_scene(*size)), 0)
    assert frame.segment_map.shape == frame.geometry.map_size
    check_rows_fit_map(frame)
    np.testing.assert_array_equal(frame.confidence_map, confidence_of(frame))
    assert frame.segments['area'].sum() == pytest.approx(
        np.prod(frame.segment_map.shape) * np.prod(frame.geometry.px_per_cell), abs=4
    )


def test_void_has_no_confidence(predictor):
    scene = paint_scene(64, 128)
    scene[:20] = 0  # void of the network
    frame = predictor.predict(scene)
    assert (frame.confidence_map == 0).any()
    np.testing.assert_array_equal(frame.confidence_map, confidence_of(frame))
    kept = keep_segments(frame, np.array([True, False, False, True]))
    assert len(kept.segments) == 2
    np.testing.assert_array_equal(kept.confidence_map, confidence_of(kept))


def test_a_file_of_version_0_1_0_gives_no_confidence(tmp_path):
    old = load(make_tiny_model(tmp_path / 'old.onnx', confidence=False), 'onnxruntime', 'cpu')
    frame = old.predict(paint_scene(64, 128))
    assert frame.confidence_map is None
    assert keep_segments(frame, frame.segments['is_thing'] == 1).confidence_map is None


def test_a_confidence_map_of_another_size_is_refused(predictor):
    frame = predictor.predict(paint_scene(64, 128))
    with pytest.raises(ValueError, match=r'confidence_map must be \(16, 32\), got \(1, 1\)'):
        dataclasses.replace(frame, confidence_map=np.zeros((1, 1), np.uint8))


def test_a_segment_in_the_padding_only_is_dropped(predictor):
    floor = np.zeros((64, 64, 3), np.uint8)
    floor[..., 1] = 255  # the right half of the input is padding, which the model calls wall
    frame = predictor.predict(CameraImage(floor), 0)
    assert frame.segments['class_id'].tolist() == [LABELS.names.index('floor')]


@pytest.mark.parametrize(
    ('thresholds', 'expected'),
    [
        ({}, ['floor', 'wall', 'ball']),
        ({'min_area': 256}, ['floor', 'wall', 'ball']),  # exactly the area on the image
        ({'min_area': 257}, ['floor', 'wall']),  # the graph counts five times as much
        ({'min_stuff_area': 512}, ['floor', 'wall', 'ball']),
        ({'min_stuff_area': 513}, ['floor', 'ball']),
    ],
)
def test_segments_too_small_without_padding_become_void(thresholds, expected):
    segment_map = np.ones((16, 32), np.int32)  # the image covers columns 0 to 23
    segment_map[:8, 20:], segment_map[8:, 22:] = 2, 3
    area = np.bincount(segment_map.ravel())[1:].astype(np.int32)
    box = np.array([[0, 0, 22, 16], [20, 0, 32, 8], [22, 8, 32, 16]], np.float32)
    outputs = Outputs(
        segment_map,
        np.zeros((16, 32), np.uint8),
        np.arange(3, dtype=np.int32),
        np.ones(3, np.float32),
        box,
        np.zeros((3, 2), np.float32),
        area,
        np.zeros((3, 4), np.float32),
        np.ones(3, bool),
        np.full((16, 32), 200, np.uint8),
    )
    frame = to_frame(outputs, tiny_info(), Geometry((64, 96), (64, 128), 4), 0, thresholds)
    np.testing.assert_array_equal(frame.confidence_map, np.where(frame.segment_map, 200, 0))
    assert [LABELS.names[i] for i in frame.segments['class_id']] == expected
    assert set(np.unique(frame.segment_map)) - {0} == set(frame.segments['segment_id'])
    assert outputs.valid.all() and segment_map.all()  # the graph's outputs are not changed


def test_an_empty_scene_gives_no_rows(predictor):
    frame = predictor.predict(CameraImage(np.zeros((64, 128, 3), np.uint8)), 0)
    assert len(frame.segments) == 0
    assert not frame.segment_map.any()


@pytest.mark.parametrize(
    ('thresholds', 'expected'),
    [
        ({'score_threshold': 0.7}, ['floor', 'wall', 'ball']),  # the box has 0.65
        ({'score_threshold': 1}, []),
        ({'min_area': 320 * 320}, ['floor', 'wall', 'ball', 'box']),  # exactly their camera area
        ({'min_area': 320 * 320 + 200}, ['floor', 'wall']),  # camera px, not input px
    ],
)
def test_thresholds_change_with_every_call(predictor, thresholds, expected):
    frame = predictor.predict(CameraImage(paint_scene(640, 1280)), 0, thresholds)
    assert [LABELS.names[i] for i in frame.segments['class_id']] == expected
    assert len(predictor.predict(CameraImage(paint_scene(640, 1280)), 0).segments) == 4


def test_invalid_rows_are_dropped_with_any_content():
    segment_map = np.zeros((16, 32), np.int32)
    segment_map[0, 0] = 2
    valid = np.array([False, True, False])
    box = np.where(valid[:, None], np.float32([0, 0, 1, 1]), np.float32(np.nan))
    outputs = Outputs(
        segment_map,
        np.zeros((16, 32), np.uint8),
        np.array([0, 2, 300], np.int32),
        np.array([np.nan, 0.5, np.nan], np.float32),
        box,
        box[:, 2:] / 2,
        np.array([7, 1, -1], np.int32),
        np.zeros((3, 4), np.float32),
        valid,
    )
    frame = to_frame(outputs, tiny_info(), Geometry((64, 128), (64, 128), 4), 0)
    assert frame.segments['segment_id'].tolist() == [2]


@pytest.mark.parametrize('columns', [32, 24])
def test_wrong_ids_and_areas_of_a_graph_are_corrected(columns):
    segment_map = np.zeros((16, 32), np.int32)
    segment_map[:, 20:] = 1  # partly in the padding
    segment_map[:, 28:] = 2  # in the padding only
    segment_map[0, :3] = 7, 70_000, -1  # without a row
    outputs = Outputs(
        segment_map,
        np.zeros((16, 32), np.uint8),
        np.zeros(2, np.int32),
        np.ones(2, np.float32),
        np.float32([[20, 0, 28, 16], [28, 0, 32, 16]]),
        np.float32([[24, 8], [30, 8]]),
        np.array([128, 99], np.int32),  # the second area is wrong
        np.zeros((2, 4), np.float32),
        np.ones(2, bool),
    )
    frame = to_frame(outputs, tiny_info(), Geometry((64, 4 * columns), (64, 128), 4), 0)
    ids = [1, 2] if columns == 32 else [1]
    assert frame.segments['segment_id'].tolist() == ids
    assert np.unique(frame.segment_map).tolist() == [0, *ids]
    assert not frame.segment_map[:, :20].any()


@pytest.mark.parametrize(
    ('name', 'value'),
    [('score', np.nan), ('box', np.inf), ('centroid', np.nan), ('embedding', -np.inf)],
)
@pytest.mark.parametrize('size', [(640, 1280), (720, 1280)])
def test_rows_with_nan_are_dropped_from_map_and_table(predictor, size, name, value):
    pixels, geometry = predictor.prepare(CameraImage(paint_scene(*size)))
    outputs = predictor.run(pixels, geometry)
    array = getattr(outputs, name).copy()
    array[2] = value  # the ball
    frame = to_frame(outputs._replace(**{name: array}), predictor.info, geometry, 0)
    assert [LABELS.names[i] for i in frame.segments['class_id']] == ['floor', 'wall', 'box']
    assert (outputs.segment_map == 3).any() and not (frame.segment_map == 3).any()
    check_rows_fit_map(frame)


def test_a_segment_below_the_least_score_of_its_class_is_unknown(predictor):
    """Its class is withheld; mask, box, score and kind stay."""
    info = predictor.info.with_unknown({'Ball': 0.9, 'box': 0.75, 'wall': 0.81})
    image = paint_scene(64, 128)
    image[16:48, 72:76] = 255, 0, 0  # a second ball, right of the middle
    frames = [
        Predictor(predictor.backend, i).predict(CameraImage(image)) for i in (info, predictor.info)
    ]
    ours, plain = frames
    names = [info.labels.names[i] for i in ours.segments['class_id']]
    assert names == ['floor', 'unknown', 'ball', 'unknown', 'unknown']
    assert plain.segments['is_thing'].tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(ours.segment_map, plain.segment_map)
    for name in set(ours.segments.dtype.names) - {'class_id'}:
        np.testing.assert_array_equal(ours.segments[name], plain.segments[name])
    assert (ours.unknown_id, plain.unknown_id) == (4, None)
    known = without_unknown(ours)
    assert known.segments['class_id'].tolist() == [0, 2]
    expected = np.where(ours.semantic_map == 4, 255, plain.semantic_map)
    np.testing.assert_array_equal(known.semantic_map, expected)
    assert without_unknown(plain) is plain
