# SPDX-License-Identifier: Apache-2.0
"""Predictor, choice of classes and tracker together."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import LABELS, paint_scene

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import read_info
from panoptic_ros.node.pipeline import Pipeline
from panoptic_ros.runtime import Predictor, open_backend

SCENE = CameraImage(paint_scene(64, 128))


class CountingTracker:
    """Tracker that numbers the rows of a frame and records how many there were."""

    def __init__(self):
        self.rows = []

    def update(self, frame, image=None, view=None):
        self.rows.append(len(frame.segments))
        segments = frame.segments.copy()
        segments['track_id'] = np.arange(len(segments)) + 100
        return replace(frame, segments=segments)


@pytest.fixture
def pipeline(tiny_model) -> Pipeline:
    predictor = Predictor(open_backend(tiny_model, 'onnxruntime', 'cpu'), read_info(tiny_model))
    return Pipeline(predictor, CountingTracker())


def classes(frame) -> list[str]:
    return [LABELS.names[i] for i in frame.segments['class_id']]


def test_frames_are_tracked_and_timed(pipeline):
    frame, times = pipeline(SCENE, 3.25)
    assert frame.stamp_s == 3.25
    assert frame.segments['track_id'].tolist() == [100, 101, 102, 103]
    assert all(0 < value < 60 for value in times.values())


def test_the_tracker_receives_empty_frames(pipeline):
    pipeline(CameraImage(np.zeros((64, 128, 3), np.uint8)), 0)
    assert pipeline.tracker.rows == [0]


def test_it_runs_without_a_tracker(pipeline):
    pipeline.tracker = None
    frame, _ = pipeline(SCENE, 0)
    assert not frame.segments['track_id'].any()


@pytest.mark.parametrize(
    ('include', 'exclude', 'expected'),
    [
        ((), (), ['floor', 'wall', 'ball', 'box']),  # nothing chosen: all
        (['ball'], (), ['ball']),
        ((), ['wall', 'box'], ['floor', 'ball']),
        (['ball', 'wall'], ['wall'], ['ball']),  # exclude wins
        (['ball'], ['ball'], []),  # nothing is left
    ],
)
def test_excluded_classes_are_removed_from_map_and_table(pipeline, include, exclude, expected):
    pipeline.choose_classes(include, exclude)
    frame, _ = pipeline(SCENE, 0)
    assert classes(frame) == expected
    ids = set(np.unique(frame.segment_map)) - {0}
    assert ids == set(frame.segments['segment_id'])
    assert pipeline.tracker.rows == [len(expected)]


def test_an_unknown_class_changes_nothing(pipeline):
    pipeline.choose_classes(exclude=['wall'])
    with pytest.raises(ValueError, match="unknown class 'tree'; the classes are: floor, wall"):
        pipeline.choose_classes(exclude=['tree'])
    assert 'wall' not in classes(pipeline(SCENE, 0).frame)


def test_thresholds_can_be_replaced_while_it_runs(pipeline):
    pipeline.thresholds = {'score_threshold': 0.85}
    assert classes(pipeline(SCENE, 0).frame) == ['floor', 'ball']
    pipeline.thresholds = {}
    assert len(classes(pipeline(SCENE, 1).frame)) == 4
