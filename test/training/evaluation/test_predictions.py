# SPDX-License-Identifier: Apache-2.0
"""Predictions on disk: what is written is read back, and mistakes are told."""

import json

import cv2
import numpy as np
import pytest
from tiny_model import LABELS

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image_frame import at_camera, make_frame
from panoptic_training.evaluation.predictions import (
    CocoPredictions,
    IdPredictions,
    PredictionStore,
    open_predictions,
    png_names,
)

SIZE = (11, 17)
IDS = ('a', 'b/1', 'c')


def random_ids(rng, count=6):
    """Segment ids with gaps between them, some of them void and some without a pixel."""
    ids = rng.choice([1, 2, 5, 300, 70000, 2**24 - 1], count, replace=False)
    return rng.choice([0, *ids[:-1]], SIZE), ids


def slow_rows(ids, classes):
    """Box, centroid and area of each segment that has a pixel, pixel by pixel."""
    rows = {}
    for segment in classes:
        found = [(y, x) for y in range(SIZE[0]) for x in range(SIZE[1]) if ids[y, x] == segment]
        if found:
            ys, xs = zip(*found, strict=True)
            rows[segment] = (
                min(xs),
                min(ys),
                max(xs) + 1 - min(xs),
                max(ys) + 1 - min(ys),
                sum(xs) / len(xs) + 0.5,
                sum(ys) / len(ys) + 0.5,
                len(found),
            )
    return rows


@pytest.mark.parametrize('seed', range(5))
def test_make_frame_measures_segments(seed):
    rng = np.random.default_rng(seed)
    ids, listed = random_ids(rng)
    classes = {int(i): int(rng.integers(4)) for i in listed}
    scores = rng.random(len(listed)).astype(np.float32)
    frame = make_frame(ids, classes, LABELS, scores, np.arange(len(listed)))
    expected = slow_rows(ids, classes)
    places = [place for place, i in enumerate(classes) if i in expected]
    assert frame.segments['segment_id'].tolist() == list(range(1, len(expected) + 1))
    assert frame.segments['score'].tolist() == scores[places].tolist()
    assert frame.segments['track_id'].tolist() == places
    for row, (segment, values) in zip(frame.segments, expected.items(), strict=True):
        assert (frame.segment_map == row['segment_id']).tolist() == (ids == segment).tolist()
        assert row['class_id'] == classes[segment]
        assert row['is_thing'] == LABELS.labels[classes[segment]].is_thing
        assert [
            row[name] for name in ('bbox_x', 'bbox_y', 'bbox_w', 'bbox_h', 'u', 'v', 'area')
        ] == pytest.approx(values)
    assert (frame.segment_map[ids == 0] == 0).all()


def test_a_frame_without_segments():
    frame = make_frame(np.zeros(SIZE, int), {}, LABELS)
    assert len(frame.segments) == 0 and not frame.segment_map.any()


def test_at_camera_leaves_out_what_has_no_pixel():
    """A coasting track has a row and no cell; a cell may fall between the pixels of the image."""
    rows = np.zeros(3, segment_dtype(2))
    rows['segment_id'], rows['class_id'], rows['score'] = (4, 9, 7), (2, 3, 0), (0.5, 0.25, 0.75)
    cells = np.zeros((4, 8), np.uint16)
    cells[:, 3:], cells[1:3, 5] = 7, 4
    frame = at_camera(PanopticFrame(cells, rows, Geometry((8, 16), (4, 8), 1), 3.5), LABELS)
    assert frame.segment_map.shape == (8, 16)
    assert frame.segments['class_id'].tolist() == [2, 0]
    assert frame.segments['score'].tolist() == [0.5, 0.75]
    assert frame.segments['area'].tolist() == [8, (5 * 4 - 2) * 4]
    again = at_camera(frame, LABELS)
    assert (again.segment_map == frame.segment_map).all()
    assert again.segments.tobytes() == frame.segments.tobytes()


def test_store_gives_back_what_it_got(tmp_path):
    rng = np.random.default_rng(0)
    store = PredictionStore(tmp_path, LABELS, IDS, IDS)
    frames = []
    for index in range(2):
        ids, listed = random_ids(rng)
        frames.append(
            make_frame(
                ids,
                {int(i): int(rng.integers(4)) for i in listed},
                LABELS,
                rng.random(len(listed)),
                rng.integers(0, 3, len(listed)),
            )
        )
        store.write(index, frames[-1])
    store.save()
    for again in (
        store,
        PredictionStore(tmp_path, LABELS, IDS, IDS),
        open_predictions(tmp_path, LABELS, IDS, IDS),
    ):
        assert [i in again for i in range(3)] == [True, True, False]
        assert again.scored and again.tracked
        for index, frame in enumerate(frames):
            read = again.read(index, SIZE)
            assert (read.segment_map == frame.segment_map).all()
            assert read.segments.tobytes() == frame.segments.tobytes()
        with pytest.raises(ValueError, match='no prediction for image c'):
            again.read(2, SIZE)
        with pytest.raises(ValueError, match='is 11 x 17, its image 3 x 4'):
            again.read(0, (3, 4))


def test_a_png_without_its_entry_is_predicted_again(tmp_path):
    """As after a kill between the two."""
    store = PredictionStore(tmp_path, LABELS, IDS, IDS)
    store.save()
    listed = store.path.read_bytes()
    store.write(0, make_frame(np.ones(SIZE, int), {1: 0}, LABELS))
    store.path.write_bytes(listed)
    assert 0 not in PredictionStore(tmp_path, LABELS, IDS, IDS)


def test_names_that_files_cannot_tell_apart_are_refused(tmp_path):
    with pytest.raises(ValueError, match='differ only in characters'):
        PredictionStore(tmp_path, LABELS, ('b/1', 'b_1'), ('b/1', 'b_1'))


@pytest.mark.parametrize(
    ('names', 'pngs'),
    [
        (['000000000042.jpg', 'b/1.JPG'], ['000000000042.png', 'b_1.png']),
        (['a.jpg', 'a.png'], ['a.jpg.png', 'a.png.png']),  # the suffix alone distinguishes them
        (['frame.0001', 'frame.0002'], ['frame.0001.png', 'frame.0002.png']),  # not suffixes
    ],
)
def test_pngs_are_named_like_the_images(names, pngs):
    assert png_names(names) == pngs


def write_json(folder, segments, **more):
    path = folder / 'theirs.json'
    path.write_text(
        json.dumps(
            {
                'annotations': [
                    {'image_id': 'a', 'file_name': 'a.png', 'segments_info': segments}
                ],
                **more,
            }
        )
    )
    (folder / 'theirs').mkdir(exist_ok=True)
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:5, :, 2] = 1
    cv2.imwrite(str(folder / 'theirs/a.png'), pixels)
    return path


def test_somebody_elses_json(tmp_path):
    path = write_json(tmp_path, [{'id': 1, 'category_id': 24}])
    found = open_predictions(path, LABELS, IDS, IDS)
    assert not found.scored and not found.tracked
    frame = found.read(0, SIZE)
    assert frame.segments['class_id'].tolist() == [2]
    assert frame.segments['area'].tolist() == [5 * 17]


@pytest.mark.parametrize(
    ('segment', 'more', 'reason'),
    [
        ({'id': 1, 'category_id': 3}, {}, 'segment 1 has unknown category_id 3'),
        ({'id': 1, 'category_id': 24, 'score': 'high'}, {}, 'image a: score must be a number'),
        (
            {'id': 1, 'category_id': 24, 'score': float('nan')},
            {},
            'image a: score must be a number',
        ),
        ({'id': 1, 'category_id': 24, 'track_id': -1}, {}, 'track_id a whole number from 0'),
        ({'id': 2, 'category_id': 24}, {}, 'segment 1 is in the PNG and not in the JSON'),
        (
            {'id': 1, 'category_id': 24},
            {'categories': [{'id': 24, 'name': 'cat', 'isthing': 1}]},
            'category 24 is cat, in the data ball',
        ),
    ],
)
def test_faults_of_a_json_are_told(tmp_path, segment, more, reason):
    path = write_json(tmp_path, [segment], **more)
    with pytest.raises(ValueError, match=reason):
        CocoPredictions(path, tmp_path / 'theirs', LABELS, IDS).read(0, SIZE)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_pngs_of_ids(tmp_path, dtype):
    """Categories 7 (floor), 11 (wall), 24 (ball); 3 is none of them."""
    ids = np.zeros(SIZE, dtype)
    ids[:2], ids[2:4], ids[4:6] = 7, 3, 24
    expected = [(0, 0, 2 * 17), (2, 0, 2 * 17)]
    if dtype == np.uint16:
        ids[6, :3], ids[6, 3:] = 24000, 24001  # Cityscapes counts from 0
        expected += [(2, 1, 3), (2, 2, 14)]
    cv2.imwrite(str(tmp_path / 'a.png'), ids)
    frame = IdPredictions(tmp_path, LABELS, IDS).read(0, SIZE)
    assert [(row['class_id'], row['track_id'], row['area']) for row in frame.segments] == expected
    assert (frame.semantic_map[2:4] == 255).all() and (frame.semantic_map[7:] == 255).all()
