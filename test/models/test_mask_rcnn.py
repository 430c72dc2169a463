"""The two stages of Mask R-CNN in fixed shapes against torchvision and loops."""

import math

import pytest
import torch
import torchvision

from panoptic_ros.models.proposals import (
    ANCHOR_CODER,
    NEVER,
    by_anchor,
    clip,
    make_anchors,
    propose,
)
from panoptic_ros.models.roi_heads import (
    BOX_CODER,
    BoxOutputs,
    detect,
    of_class,
    pool_batch,
    pool_fixed,
)

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
                assert torch.equal(flat[:, place], maps[:, 2 * anchor:2 * anchor + 2, row, column])


@pytest.mark.parametrize(('per_level', 'total', 'why'), [
    (40, 50, 'cut before and after suppression'),
    (1000, 5000, 'more room than anchors'),
    (4, 100, 'fewer than the coarsest level has'),
])
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
    torch.testing.assert_close(pool_fixed(levels, boxes, 7, 28.0),
                               pool_batch(levels, [boxes], 7, 28.0))
    assert pool_batch(levels, [boxes[:0]], 7, 28.0).shape == (0, 5, 7, 7)


def test_of_class_takes_each_rows_own():
    values = torch.randn(4, 3, 2, 5)
    thing = torch.tensor([2, 0, 1, 2])
    assert torch.equal(of_class(values, thing), values[torch.arange(4), thing])


@pytest.mark.parametrize(('top_k', 'score', 'nms', 'why'), [
    (20, 0.3, 0.5, 'as usual'),
    (3, 0.3, 0.5, 'fewer rows than detections'),
    (60, 0.0, 0.3, 'more rows than proposals'),
    (20, 1.0, 0.5, 'nothing is good enough'),
])
def test_detections_equal_the_loop(top_k, score, nms, why):
    generator = torch.Generator().manual_seed(2)
    proposals = boxes_in(40, generator)
    logits = torch.where(torch.arange(40) < 33, 1.0, NEVER)
    outputs = BoxOutputs(torch.randn(40, 4, generator=generator) * 2,
                         torch.randn(40, 3, 4, generator=generator),
                         torch.randn(40, 6, generator=generator))
    found = detect(proposals, logits, outputs, SIZE, top_k, torch.tensor(score),
                   torch.tensor(nms))
    prob = outputs.class_logits.softmax(dim=1)[:, 1:]
    rows = []
    for i in range(33):
        thing = int(prob[i].argmax())
        box = clip(BOX_CODER.decode_single(outputs.deltas[i, thing][None], proposals[i:i + 1]),
                   SIZE)
        if prob[i, thing] > score:
            rows.append((float(prob[i, thing]), i, thing, box))
    rows = sorted(rows, reverse=True)[:2 * top_k]
    if rows:
        keep = torchvision.ops.nms(torch.cat([r[3] for r in rows]),
                                   torch.tensor([r[0] for r in rows]), nms).tolist()
        rows = [rows[k] for k in keep][:top_k]
    alive = found.alive
    assert alive.tolist() == [i < len(rows) for i in range(min(top_k, 40))], why
    assert found.thing[alive].tolist() == [r[2] for r in rows]
    torch.testing.assert_close(found.score[alive].tolist(), [r[0] for r in rows])
    for box, embedding, (_, i, _, expected) in zip(found.box, found.embedding, rows,
                                                   strict=False):
        torch.testing.assert_close(box, expected[0])
        torch.testing.assert_close(embedding, outputs.embedding[i] / outputs.embedding[i].norm())
    assert all(value.isfinite().all() for value in found)
