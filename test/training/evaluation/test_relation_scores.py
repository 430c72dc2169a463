# SPDX-License-Identifier: Apache-2.0
"""Overlap accuracy of a model on samples, and the relations that are written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SMALL_SOGNET
from tiny_model import LABELS

from panoptic_ros.core.image import CameraImage
from panoptic_ros.metrics.overlap_accuracy import COVERED
from panoptic_ros.models.base import SegmentTensors
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.data.sample import HIDDEN_LAYERS, Sample
from panoptic_training.evaluation.relations import (
    RelationScores,
    gt_relations,
    predicted_relations,
    relation_model,
)
from panoptic_training.module_backend import ModuleBackend, model_info


class Told(torch.nn.Module):
    """Relation module that returns given values and records its inputs."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.tensor(value)

    def forward(self, box, thing, mask):
        self.box, self.mask = box, mask
        count = len(box)
        return self.value[:count, :count]


def sample(hidden):
    """A ball (1) before a box (2), and a ball (3) apart; with what is hidden of the box or not."""
    class_map, instance_map = np.zeros((64, 96), np.uint8), np.zeros((64, 96), np.int32)
    class_map[10:40, 30:80], instance_map[10:40, 30:80] = 3, 2
    class_map[20:50, 20:50], instance_map[20:50, 20:50] = 2, 1
    class_map[0:8, 0:8], instance_map[0:8, 0:8] = 2, 3
    hidden_map = np.zeros((HIDDEN_LAYERS, 64, 96), np.int32)
    hidden_map[0, 20:40, 30:50] = 2
    return Sample(
        np.zeros((64, 96, 3), np.uint8), class_map, instance_map, hidden_map if hidden else None
    )


def model(value, overlap_of):
    torch.manual_seed(0)
    net = build(
        'sognet', LABELS, **SMALL_SOGNET, overlap_of=overlap_of, score_threshold=0.0
    ).eval()
    net.relation = Told(value)
    return net


RIGHT = [[0.0, 0.0, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 0.0]]  # the box is covered by the ball
WRONG = [[0.0, 0.9, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ('value', 'overlap_of', 'hidden', 'expected', 'why'),
    [
        (RIGHT, 'mask', True, 100.0, 'all pairs are right'),
        (WRONG, 'mask', True, 100 * 4 / 6, 'the pair is told the wrong way round'),
        (RIGHT, 'box', True, 100.0, 'a model of boxes, by whole masks'),
        (RIGHT, 'box', False, 100.0, 'a model of boxes, by boxes'),
        (RIGHT, 'mask', False, float('nan'), 'no mask overlaps another'),
    ],
)
def test_accuracy_is_over_the_ordered_pairs(value, overlap_of, hidden, expected, why):
    scores = RelationScores(model(value, overlap_of))
    scores.update(sample(hidden))
    assert scores.accuracy.compute() == pytest.approx(expected, nan_ok=True), why


@pytest.mark.parametrize('overlap_of', ['mask', 'box'])
def test_the_module_sees_what_it_was_trained_with(overlap_of):
    net = model(RIGHT, overlap_of)
    gt_relations(net, sample(True))
    assert net.relation.box[1].tolist() == [30.0, 10.0, 80.0, 40.0]
    corner = net.relation.mask[1][6:, :4].mean()  # the part of the box that the ball hides
    assert (corner > 0.9) == (overlap_of == 'mask')


def test_instances_that_overlap_none_have_no_relation():
    everyone = [[0.0] * 3 if i == 2 else [0.7] * 3 for i in range(3)]
    relation, truth = gt_relations(model(everyone, 'mask'), sample(True))
    assert not relation[2].any() and not relation[:, 2].any() and relation[0, 1] > 0
    assert truth.tolist() == [[False] * 3, [True, False, False], [False] * 3]


def test_predicted_pairs_name_the_frames_segments():
    torch.manual_seed(4)
    net = build(
        'sognet',
        LABELS,
        **SMALL_SOGNET,
        overlap_of='box',
        relabel=False,
        score_threshold=0.0,
        nms_threshold=0.9,
        overlap_threshold=1.0,
    ).eval()
    for parameter in net.relation.parameters():
        parameter.data.normal_(std=2.0)
    predictor = Predictor(ModuleBackend(net), model_info(net, (64, 96)))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    one = Sample(image, np.zeros((64, 96), np.uint8), np.zeros((64, 96), np.int32))
    assert relation_model(predictor, Path('some.ckpt')) is net
    pairs = predicted_relations(predictor, net, one)
    frame = predictor.predict(CameraImage(image, 'rgb'), stamp_s=0)
    names = {int(s['segment_id']): LABELS.names[s['class_id']] for s in frame.segments}
    assert pairs, 'else the test says nothing'
    for pair in pairs:
        assert names[pair['segment']] == pair['class'] and names[pair['on']] == pair['on_class']
        assert COVERED <= pair['strength'] <= 1
    strengths = [pair['strength'] for pair in pairs]
    assert strengths == sorted(strengths, reverse=True)
    both = {(pair['segment'], pair['on']) for pair in pairs}
    assert not both & {(b, a) for a, b in both}


def said(box, valid, segment_map, relation, class_id):
    """What decoding gives for K instances without stuff."""
    rows = len(box)
    area = torch.stack([(segment_map == row + 1).sum() for row in range(rows)])
    return SegmentTensors(
        semantic_map=torch.zeros_like(segment_map, dtype=torch.uint8),
        segment_map=segment_map,
        class_id=torch.tensor(class_id),
        score=torch.ones(rows),
        area=area.to(torch.int32),
        centroid=torch.ones(rows, 2),
        box=torch.tensor(box),
        embedding=torch.zeros(rows, 8),
        valid=torch.tensor(valid),
        confidence=torch.zeros_like(segment_map, dtype=torch.uint8),
    ), torch.tensor(relation)


def test_only_pairs_of_the_frame_that_are_told_apart_are_listed(monkeypatch):
    net = model(RIGHT, 'box')
    predictor = Predictor(ModuleBackend(net), model_info(net, (64, 96)))
    # Twice as wide as high: the lower quarter of the input is padding, and row 2 lies there.
    image = np.zeros((48, 96, 3), np.uint8)
    segment_map = torch.zeros(16, 24, dtype=torch.int32)
    segment_map[2:6, 2:8], segment_map[2:6, 8:12] = 1, 2
    segment_map[13:15, 2:8], segment_map[8:10, 2:8] = 3, 4
    box = [[2.0, 2, 8, 6], [8, 2, 12, 6], [2, 13, 8, 15], [2, 8, 8, 10]]
    relation = [[0.0, 0.9, 0.9, 0.49], [0, 0, 0, 0.5], [0, 0.9, 0, 0], [0, 0, 0, 0]]
    answer = said(box, [True] * 4, segment_map, relation, [2, 3, 3, 2])
    monkeypatch.setattr(type(net), 'decode_with_relation', lambda *args, **kwargs: answer)
    one = Sample(image, np.zeros((48, 96), np.uint8), np.zeros((48, 96), np.int32))
    assert predicted_relations(predictor, net, one) == [
        {'segment': 2, 'class': 'box', 'on': 1, 'on_class': 'ball', 'strength': 0.9},
        {'segment': 4, 'class': 'ball', 'on': 2, 'on_class': 'box', 'strength': 0.5},
    ]


def test_other_models_have_no_relations():
    net = build('sognet', LABELS, **SMALL_SOGNET, relation=False).eval()
    predictor = Predictor(ModuleBackend(net), model_info(net, (64, 96)))
    assert relation_model(predictor, Path('some.ckpt')) is None
