# SPDX-License-Identifier: Apache-2.0
"""The two stages of Mask R-CNN in fixed shapes against torchvision and loops."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from small_models import SMALL_FPN, SMALL_SOGNET
from tiny_model import LABELS

import panoptic_training
from panoptic_ros.models.config import NEVER
from panoptic_ros.models.parts.mask_rcnn.proposals import (
    ANCHOR_CODER,
    by_anchor,
    clip,
    make_anchors,
    propose,
)
from panoptic_ros.models.parts.mask_rcnn.roi_heads import (
    BOX_CODER,
    BoxOutputs,
    detect,
    of_class,
    pool_batch,
    pool_fixed,
)
from panoptic_ros.models.registry import build

RECIPES = Path(panoptic_training.__file__).parent / 'recipes'
SIZE = (64, 96)
STRIDES = (4, 8, 16, 32, 64)
SIZES = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]


def anchors():
    return make_anchors(SIZES, STRIDES, 4.0, (0.5, 1.0, 2.0), torch.device('cpu'))


def boxes_in(count, generator, size=SIZE):
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([size[1], size[0]]) * 0.8
    side = 4 + torch.rand(count, 2, generator=generator) * 50
    return clip(torch.cat([corner, corner + side], dim=1), size)


def test_anchors_sit_on_the_cells():
    for level, (height, width), stride in zip(anchors(), SIZES, STRIDES, strict=True):
        expected = []
        for row in range(height):
            for column in range(width):
                for ratio in (0.5, 1.0, 2.0):
                    high = 4 * stride * math.sqrt(ratio)
                    wide = high / ratio
                    y, x = (row + 0.5) * stride, (column + 0.5) * stride
                    expected.append([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2])
        torch.testing.assert_close(level, torch.tensor(expected))


def test_maps_are_read_in_the_anchors_order():
    maps = torch.arange(2 * 6 * 2 * 3.0).view(2, 6, 2, 3)  # 3 anchors of 2 values
    flat = by_anchor([maps], 2)[0]
    assert flat.shape == (2, 18, 2)
    for row in range(2):
        for column in range(3):
            for anchor in range(3):
                place = (row * 3 + column) * 3 + anchor
                assert torch.equal(
                    flat[:, place], maps[:, 2 * anchor : 2 * anchor + 2, row, column]
                )


@pytest.mark.parametrize(
    ('per_level', 'total', 'why'),
    [
        (40, 50, 'cut before and after suppression'),
        (1000, 5000, 'more rows than anchors'),
        (4, 100, 'fewer than the coarsest level has'),
    ],
)
def test_proposals_equal_torchvisions(per_level, total, why):
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(len(a), generator=generator) for a in anchors()]
    deltas = [torch.randn(len(a), 4, generator=generator) * 0.2 for a in anchors()]
    box, score = propose(logits, deltas, anchors(), SIZE, per_level, total)
    found = []
    for logit, delta, anchor in zip(logits, deltas, anchors(), strict=True):
        best, index = logit.topk(min(per_level, len(logit)))
        boxes = clip(ANCHOR_CODER.decode_single(delta[index], anchor[index]), SIZE)
        keep = torchvision.ops.remove_small_boxes(boxes, 1.0)
        boxes, best = boxes[keep], best[keep]
        keep = torchvision.ops.nms(boxes, best, 0.7)
        found += list(zip(best[keep].tolist(), boxes[keep].tolist(), strict=True))
    found = sorted(found, reverse=True)[:total]
    exists = score > NEVER / 2
    assert exists.sum() == len(found), why
    torch.testing.assert_close(score[exists], torch.tensor([f[0] for f in found]))
    torch.testing.assert_close(box[exists], torch.tensor([f[1] for f in found]))
    assert box.isfinite().all() and exists.tolist() == sorted(exists.tolist(), reverse=True)


def test_fixed_pooling_equals_torchvisions():
    generator = torch.Generator().manual_seed(1)
    levels = [torch.randn(1, 5, *size, generator=generator) for size in SIZES[:4]]
    boxes = boxes_in(40, generator)
    boxes[:8] = torch.tensor([[0.0, 0, side, side] for side in (1, 7, 14, 15, 28, 29, 56, 60)])
    torch.testing.assert_close(
        pool_fixed(levels, boxes, 7, 28.0), pool_batch(levels, [boxes], 7, 28.0)
    )
    assert pool_batch(levels, [boxes[:0]], 7, 28.0).shape == (0, 5, 7, 7)


def test_of_class_takes_each_rows_own():
    values = torch.randn(4, 3, 2, 5)
    thing = torch.tensor([2, 0, 1, 2])
    assert torch.equal(of_class(values, thing), values[torch.arange(4), thing])


@pytest.mark.parametrize(
    ('top_k', 'score', 'nms', 'why'),
    [
        (20, 0.3, 0.5, 'as usual'),
        (3, 0.3, 0.5, 'fewer rows than detections'),
        (60, 0.0, 0.3, 'more rows than proposals'),
        (20, 1.0, 0.5, 'no score is high enough'),
    ],
)
@pytest.mark.parametrize('across', [False, True])
def test_detections_equal_the_loop(across, top_k, score, nms, why):
    generator = torch.Generator().manual_seed(2)
    proposals = boxes_in(40, generator)
    logits = torch.where(torch.arange(40) < 33, 1.0, NEVER)
    outputs = BoxOutputs(
        torch.randn(40, 4, generator=generator) * 2,
        torch.randn(40, 3, 4, generator=generator),
        torch.randn(40, 6, generator=generator),
    )
    found = detect(
        proposals, logits, outputs, SIZE, top_k, torch.tensor(score), torch.tensor(nms), across
    )
    prob = outputs.class_logits.softmax(dim=1)[:, 1:]
    rows = []
    for i in range(33):
        thing = int(prob[i].argmax())
        box = clip(
            BOX_CODER.decode_single(outputs.deltas[i, thing][None], proposals[i : i + 1]), SIZE
        )
        if prob[i, thing] > score:
            rows.append((float(prob[i, thing]), i, thing, box))
    rows = sorted(rows, reverse=True)
    if rows:
        group = torch.tensor([0 if across else r[2] for r in rows])
        keep = torchvision.ops.batched_nms(
            torch.cat([r[3] for r in rows]), torch.tensor([r[0] for r in rows]), group, nms
        ).tolist()
        rows = [rows[k] for k in keep][:top_k]
    alive = found.alive
    count = min(top_k, 40)
    assert alive.tolist() == [i < len(rows) for i in range(count)], why
    assert found.thing[alive].tolist() == [r[2] for r in rows]
    torch.testing.assert_close(found.score[alive].tolist(), [r[0] for r in rows])
    for box, embedding, (_, i, _, expected) in zip(found.box, found.embedding, rows, strict=False):
        torch.testing.assert_close(box, expected[0])
        torch.testing.assert_close(embedding, outputs.embedding[i] / outputs.embedding[i].norm())
    assert all(value.isfinite().all() for value in found)


def outputs_of(things, scores):
    """Return box head outputs without deltas: 2 thing classes with scores, the rest background."""
    prob = torch.full((len(things), 3), 1e-6)
    prob[torch.arange(len(things)), things + 1] = scores
    prob[:, 0] = 1 - scores
    return BoxOutputs(prob.log(), torch.zeros(len(things), 2, 4), torch.ones(len(things), 3))


def test_many_boxes_of_one_object_leave_room_for_another():
    count, top_k = 50, 4  # far more than 2 top_k boxes of one object
    proposals = torch.tensor([[8.0, 8, 40, 40]]).repeat(count + 1, 1)
    proposals[:, 2] += torch.arange(count + 1) % 3  # similar, not equal
    proposals[count] = torch.tensor([50.0, 8, 80, 40])
    scores = torch.linspace(0.95, 0.8, count + 1)  # the other object has the lowest
    outputs = outputs_of(torch.zeros(count + 1, dtype=torch.int64), scores)
    found = detect(proposals, torch.ones(count + 1), outputs, SIZE, top_k, 0.5, 0.5, True)
    assert found.alive.tolist() == [True, True, False, False]
    torch.testing.assert_close(found.box[:2], proposals[[0, count]])


@pytest.mark.parametrize(('across', 'left'), [(True, [0]), (False, [0, 1])])
def test_suppression_across_classes_is_a_switch(across, left):
    proposals = torch.tensor([[8.0, 8, 40, 40], [8, 8, 40, 39], [8, 9, 40, 40]])
    things = torch.tensor([0, 1, 0])
    found = detect(
        proposals,
        torch.ones(3),
        outputs_of(things, torch.tensor([0.9, 0.8, 0.7])),
        SIZE,
        3,
        0.5,
        0.5,
        across,
    )
    assert found.thing[found.alive].tolist() == things[left].tolist()
    torch.testing.assert_close(found.box[found.alive], proposals[left])


@pytest.mark.parametrize(
    ('family', 'small', 'across'),
    [
        ('panoptic_fpn', SMALL_FPN, False),
        ('sognet', SMALL_SOGNET, True),
        ('pisr_panoptic_fpn', {**SMALL_FPN, 'block_channels': 8, 'num_encodings': 4}, False),
    ],
)
def test_only_sognet_suppresses_across_classes_by_default(family, small, across):
    torch.manual_seed(0)
    model = build(family, LABELS, **small).eval()
    assert model.config.nms_across_classes is across
    # The rows are ball and box alternately, all in one place.
    proposals, logits = torch.tensor([[8.0, 8, 40, 40]]).repeat(6, 1), torch.ones(6)
    outputs = outputs_of(torch.arange(6) % 2, torch.linspace(0.9, 0.8, 6))
    outputs = outputs._replace(embedding=torch.ones(6, model.embedding_dim))
    levels = [torch.zeros(1, 16, *size) for size in SIZES[:4]]
    heads = SimpleNamespace(
        box_head=lambda pooled: outputs,
        mask_head=lambda pooled: pooled.new_zeros(len(pooled), 2, 14, 14),
    )
    found, _ = model.detect_by(heads, levels, proposals, logits, 4, 0.5, 0.5)
    assert found.alive.sum() == (1 if across else 2)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_deltas_give_float32_boxes(dtype):
    size, generator = (1024, 2048), torch.Generator().manual_seed(0)
    sizes = [(size[0] // s, size[1] // s) for s in STRIDES]
    places = make_anchors(sizes, STRIDES, 8.0, (0.5, 1.0, 2.0), torch.device('cpu'))
    deltas = [(torch.randn(len(a), 4, generator=generator) * 0.2).to(dtype) for a in places]
    logits = [torch.randn(len(a), generator=generator) for a in places]
    box, score = propose(logits, deltas, places, size, 50, 100)
    same, _ = propose(logits, [d.float() for d in deltas], places, size, 50, 100)
    assert box.dtype == torch.float32 and torch.equal(box, same)
    assert box[:, 2].max() > 1024, 'where half precision would step by pixels'

    count = len(box)
    outputs = BoxOutputs(
        torch.randn(count, 3, generator=generator).to(dtype),
        torch.randn(count, 2, 4, generator=generator).to(dtype),
        torch.randn(count, 4, generator=generator).to(dtype),
    )
    found = detect(box, score, outputs, size, 20, 0.0, 0.5, True)
    chosen = detect(
        box, score, outputs._replace(deltas=outputs.deltas.float()), size, 20, 0.0, 0.5, True
    )
    assert found.box.dtype == torch.float32 and torch.equal(found.box, chosen.box)
