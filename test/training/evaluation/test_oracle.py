# SPDX-License-Identifier: Apache-2.0
"""The oracle of CIAE's Table V."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import SMALL_CIAE
from tiny_model import LABELS

from panoptic_ros.core.frame import Geometry
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.metrics.scores import ImageScores
from panoptic_ros.models.parts.fcos import FCOSMaps
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.predictor import Predictor
from panoptic_training.data.sample import Sample
from panoptic_training.evaluation.oracle import gt_proposals, make_oracle
from panoptic_training.evaluation.scoring import pair_of
from panoptic_training.module_backend import ModuleBackend, model_info


def sample(things=True, size=(64, 128)):
    """Floor under wall; two balls that touch, one box of one pixel, a crowd and some void."""
    height, width = size
    class_map = np.ones((height, width), np.uint8)
    class_map[height // 2 :] = 0
    instance_map = np.zeros((height, width), np.int32)
    if things:
        for i, (rows, columns, class_id) in enumerate(
            (
                (slice(20, 40), slice(16, 32), 2),
                (slice(20, 40), slice(32, 60), 2),
                (slice(9, 10), slice(100, 101), 3),
            )
        ):
            class_map[rows, columns], instance_map[rows, columns] = class_id, i + 2
        class_map[0:8, 80:96] = 3
    class_map[60:, :20] = VOID_ID
    return Sample(np.zeros((height, width, 3), np.uint8), class_map, instance_map)


def predictor_of(model):
    return Predictor(ModuleBackend(model), model_info(model, (64, 128)))


def test_proposals_are_boxes_classes_and_mean_embeddings():
    # A camera of 128 x 256 in an input of 64 x 160: scale 1/2, and padding on the right.
    geometry = Geometry((128, 256), (64, 160), stride=4)
    truth = sample(size=(128, 256))
    embedding = torch.randn(1, 8, 16, 40)
    proposals = gt_proposals(truth, geometry, embedding)
    assert proposals.keep.tolist() == [True, True, False], 'one pixel has no cell'
    assert proposals.class_id.tolist()[:2] == [2, 2]
    assert proposals.box.tolist()[:2] == [[8, 10, 16, 20], [16, 10, 30, 20]]
    # Cells of 8 camera pixels; their centres are those at 4, 12, 20 ...
    cells = [
        [
            (y, x)
            for y in range(16)
            for x in range(32)
            if truth.instance_map[8 * y + 4, 8 * x + 4] == i
        ]
        for i in (2, 3)
    ]
    for row, members in enumerate(cells):
        mean = sum(embedding[0, :, y, x] for y, x in members)
        torch.testing.assert_close(proposals.query[row], F.normalize(mean, dim=0))


@pytest.mark.parametrize('things', [True, False])
def test_perfect_embeddings_score_100_whatever_the_detector_finds(monkeypatch, things):
    model = build('ciae', LABELS, **SMALL_CIAE, min_stuff_area=0.0).eval()
    truth = sample(things)
    truth.class_map[:8, 80:96] = VOID_ID  # no crowd, which no instance and no stuff answers for
    code = torch.from_numpy(
        np.where(truth.instance_map > 0, truth.instance_map + 2, truth.class_map).astype(np.int64)
    ).clamp(max=7)
    model.memory.copy_(torch.eye(8)[:3])
    maps = model.maps(torch.zeros(1, 3, 64, 128))._replace(
        embedding=3 * torch.eye(8)[code].movedim(-1, 0)[None]
    )
    nothing = FCOSMaps(*([x * 0 - 100 for x in levels] for levels in maps.detections))
    monkeypatch.setattr(model, 'maps', lambda *_: maps._replace(detections=nothing))
    frame = make_oracle(predictor_of(model))(truth)
    scores = ImageScores(LABELS)
    scores.update(pair_of(truth, frame, LABELS))
    summary = scores.summary()
    assert summary['pq'] == pytest.approx(100)
    assert summary['pq_stuff'] == pytest.approx(100)
    if things:
        assert summary['pq_thing'] == pytest.approx(100)


def test_other_families_have_no_oracle():
    model = build(
        'hle',
        LABELS,
        backbone='mobilenetv2_035',
        separable=True,
        aspp_channels=16,
        low_level_channels=8,
        decoder_channels=16,
    )
    with pytest.raises(ValueError, match=r'needs a checkpoint .* of family ciae, got'):
        make_oracle(predictor_of(model))
