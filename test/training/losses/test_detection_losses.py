# SPDX-License-Identifier: Apache-2.0
"""Targets and losses of Mask R-CNN against loops over boxes and cells."""

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import (
    fastrcnn_loss,
    maskrcnn_loss,
    project_masks_on_boxes,
)
from torchvision.ops import box_iou

from panoptic_ros.models.parts.mask_rcnn.roi_heads import BoxOutputs
from panoptic_training.losses.parts.label_maps import void_or_crowd
from panoptic_training.losses.parts.objects import (
    Objects,
    find_objects,
    ignored_share,
    mask_targets,
    whole_masks,
)
from panoptic_training.losses.parts.rois import (
    RoIs,
    box_embedding_loss,
    box_loss,
    mask_loss,
    sample_rois,
)
from panoptic_training.losses.parts.rpn import anchor_targets, rpn_loss

VOID = 255
IS_THING = torch.tensor([False, True, False, True])


def label_maps():
    """Make two images of 12 x 16: one with things at the border, crowd and void, one of stuff."""
    class_map = torch.zeros(2, 12, 16, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    for i, rows, columns, class_id in (
        (1, slice(0, 5), slice(0, 4), 1),  # in the corner
        (3, slice(4, 9), slice(6, 13), 3),
        (9, slice(11, 12), slice(15, 16), 1),
    ):  # one pixel
        class_map[0, rows, columns], instance_map[0, rows, columns] = class_id, i
    class_map[0, 0:4, 12:] = 3  # crowd: a thing class without instance
    class_map[0, 10:, 0:6] = VOID
    instance_map[0, 10:, 0:6] = 4  # ids under void do not count
    return class_map, instance_map


def boxes_in(count, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([12.0, 8.0])
    return torch.cat(
        [corner, corner + 1 + torch.rand(count, 2, generator=generator) * 8], dim=1
    ).to(dtype)


def smooth(error, beta):
    return 0.5 * error * error / beta if error < beta else error - beta / 2


def encode(box, anchor):
    (x1, y1, x2, y2), (a1, b1, a2, b2) = box, anchor
    wide, high = a2 - a1, b2 - b1
    return [
        ((x1 + x2) - (a1 + a2)) / 2 / wide,
        ((y1 + y2) - (b1 + b2)) / 2 / high,
        math.log((x2 - x1) / wide),
        math.log((y2 - y1) / high),
    ]


def test_objects_are_the_instances():
    first, second = find_objects(*label_maps(), IS_THING)
    assert first.id.tolist() == [1, 3, 9]
    assert first.thing.tolist() == [0, 1, 0]
    assert first.box.tolist() == [[0, 0, 4, 5], [6, 4, 13, 9], [15, 11, 16, 12]]
    assert [len(x) for x in second] == [0, 0, 0] and second.box.shape == (0, 4)


def test_boxes_include_hidden_parts():
    class_map, instance_map = label_maps()
    hidden_map = torch.zeros_like(class_map)[:, None].repeat(1, 2, 1, 1)
    hidden_map[0, 0, 2:8, 2:8] = 1  # continues under the instance at its right
    hidden_map[0, 1, 8:9, 2:8] = 1  # and under two of them
    hidden_map[0, 0, 0:2, 8:10] = 7  # completely hidden, so its class is unknown
    hidden_map[1, 0, 0:2, 0:2] = 1  # ids belong to one image
    first, second = find_objects(class_map, instance_map, IS_THING, hidden_map)
    assert first.id.tolist() == [1, 3, 9] and not len(second.id)
    assert first.box.tolist() == [[0, 0, 8, 9], [6, 4, 13, 9], [15, 11, 16, 12]]
    whole = whole_masks(instance_map[0], first.id, hidden_map[0])
    is_hidden = (hidden_map[0] == 1).any(dim=0)
    assert torch.equal(whole[0], (instance_map[0] == 1) | is_hidden)
    assert torch.equal(whole_masks(instance_map[0], first.id)[0], instance_map[0] == 1)
    box = torch.tensor([[0.0, 0, 8, 8]])
    target = mask_targets(instance_map[0], first.id[:1], box, 2, hidden_map[0])
    torch.testing.assert_close(target[0], F.avg_pool2d(whole[:1, :8, :8].float(), 4)[0])


def test_void_and_crowds_are_ignored():
    unknown = void_or_crowd(*label_maps(), IS_THING)
    expected = torch.zeros(12, 16, dtype=torch.bool)
    expected[0:4, 12:] = expected[10:, 0:6] = True
    assert torch.equal(unknown[0], expected) and not unknown[1].any()
    boxes = torch.tensor(
        [[12.0, 0, 16, 4], [10, 0, 14, 8], [0, 0, 4, 4], [-5, 8, 3, 20], [3, 3, 3, 3]]
    )
    expected = [1.0, 8 / 32, 0.0, 6 / 12, 0.0]
    torch.testing.assert_close(ignored_share(boxes, unknown[0]), torch.tensor(expected))


def test_mask_targets_are_covered_parts_of_bins():
    _, instance_map = label_maps()
    boxes = torch.tensor([[0.0, 0, 8, 8], [4, 2, 16, 10], [6, 4, 14, 12]])
    ids = torch.tensor([1, 3, 3])
    target = mask_targets(instance_map[0], ids, boxes, 2)
    for box, i, ours in zip(boxes.int().tolist(), ids, target, strict=True):
        cut = (instance_map[0, box[1] : box[3], box[0] : box[2]] == i).float()
        half = (box[3] - box[1]) // 2, (box[2] - box[0]) // 2
        torch.testing.assert_close(ours, F.avg_pool2d(cut[None], half)[0])
    assert mask_targets(instance_map[0], ids[:0], boxes[:0], 2).shape == (0, 2, 2)


def slow_anchor_targets(anchors, objects, unknown):
    iou = box_iou(objects.box, anchors)
    target = []
    for a in range(len(anchors)):
        column = iou[:, a] if len(objects.box) else torch.zeros(1)
        best_of_some = any(iou[g, a] == iou[g].max() for g in range(len(objects.box)))
        if column.max() >= 0.7 or best_of_some:
            target.append(1)
        elif column.max() < 0.3:
            target.append(-1 if ignored_share(anchors[a : a + 1], unknown)[0] > 0.5 else 0)
        else:
            target.append(-1)
    return target


@pytest.mark.parametrize('seed', range(3))
def test_rpn_loss_equals_the_loop(seed):
    objects = find_objects(*label_maps(), IS_THING)
    unknown = void_or_crowd(*label_maps(), IS_THING)
    anchors = torch.cat([boxes_in(60, seed), torch.tensor([[11.0, 0, 16, 4], [14, 10, 16, 12]])])
    logits, deltas = torch.randn(2, 62), torch.randn(2, 62, 4)
    total, boxes, count = 0.0, 0.0, 0
    for i in range(2):
        target = slow_anchor_targets(anchors, objects[i], unknown[i])
        assert anchor_targets(anchors, objects[i], unknown[i])[0].tolist() == target
        assert set(target) == ({-1, 0, 1} if i == 0 else {0})
        for a, t in enumerate(target):
            if t < 0:
                continue
            count += 1
            p = 1 / (1 + math.exp(-logits[i, a]))
            total -= math.log(p if t else 1 - p)
            if t:
                which = int(box_iou(objects[i].box, anchors[a : a + 1])[:, 0].argmax())
                wanted = encode(objects[i].box[which].tolist(), anchors[a].tolist())
                boxes += sum(
                    smooth(abs(float(d) - w), 1 / 9)
                    for d, w in zip(deltas[i, a], wanted, strict=True)
                )
    # More samples than anchors: all anchors count.
    objectness, box = rpn_loss(logits, deltas, anchors, objects, unknown, 200)
    assert objectness.item() == pytest.approx(total / count, rel=1e-5)
    assert box.item() == pytest.approx(boxes / count, rel=1e-5)


def test_rpn_samples_the_given_number_of_anchors():
    objects = find_objects(*label_maps(), IS_THING)
    unknown = void_or_crowd(*label_maps(), IS_THING)
    logits = torch.zeros(2, 60, requires_grad=True)
    rpn_loss(logits, torch.zeros(2, 60, 4), boxes_in(60, 0), objects, unknown, 6)[0].backward()
    assert (logits.grad != 0).sum(dim=1).tolist() == [6, 6]


@pytest.mark.parametrize('samples', [4, 16, 1000])
def test_rois_are_sampled_from_proposals_and_ground_truth(samples):
    objects, unknown = (
        find_objects(*label_maps(), IS_THING),
        void_or_crowd(*label_maps(), IS_THING),
    )
    torch.manual_seed(0)
    proposals = torch.cat([boxes_in(50, 1), torch.tensor([[12.0, 0, 16, 4]])])  # on the crowd
    rois = sample_rois(proposals, objects[0], unknown[0], samples, 0.5)
    iou = box_iou(objects[0].box, rois.box)
    held = rois.object >= 0
    assert len(rois.box) <= samples and held.sum() <= samples / 2
    assert (iou.max(dim=0).values[held] >= 0.5).all()
    assert torch.equal(iou.argmax(dim=0)[held], rois.object[held])
    assert (iou.max(dim=0).values[~held] < 0.5).all()
    assert not (ignored_share(rois.box[~held], unknown[0]) > 0.5).any()
    if samples == 1000:
        assert set(rois.object.tolist()) == {-1, 0, 1, 2}, 'true boxes are among them'
    empty = sample_rois(proposals, objects[1], unknown[1], samples, 0.5)
    assert (empty.object == -1).all() and len(empty.box) == min(samples, 51)


def heads(dtype=torch.float32, seed=0):
    """Make RoIs of two images, outputs of the box head, and objects."""
    objects = [
        Objects(boxes_in(2, 5, dtype), torch.tensor([1, 0]), torch.tensor([1, 2])),
        Objects(torch.zeros(0, 4, dtype=dtype), *torch.zeros(2, 0).long()),
    ]
    rois = [
        RoIs(boxes_in(4, 6, dtype), torch.tensor([1, -1, 0, 1])),
        RoIs(boxes_in(2, 7, dtype), torch.tensor([-1, -1])),
    ]
    generator = torch.Generator().manual_seed(seed)
    outputs = BoxOutputs(
        *(
            torch.randn(*shape, generator=generator, dtype=dtype)
            for shape in ((6, 3), (6, 2, 4), (6, 5))
        )
    )
    return outputs, rois, objects


def test_box_loss_equals_torchvisions_and_the_loop():
    outputs, rois, objects = heads()
    classes, box = box_loss(outputs, rois, objects)
    labels = [torch.tensor([1, 0, 2, 1]), torch.tensor([0, 0])]
    total = (
        sum(
            -outputs.class_logits.log_softmax(1)[i, t]
            for i, t in enumerate(torch.cat(labels).tolist())
        )
        / 6
    )
    assert classes.item() == pytest.approx(total.item(), rel=1e-6)
    error = 0.0
    for row, (which, thing) in {0: (1, 0), 2: (0, 1), 3: (1, 0)}.items():
        wanted = encode(objects[0].box[which].tolist(), rois[0].box[row].tolist())
        error += sum(
            smooth(abs(float(d) - w * scale), 1.0)
            for d, w, scale in zip(outputs.deltas[row, thing], wanted, (10, 10, 5, 5), strict=True)
        )
    assert box.item() == pytest.approx(error / 6, rel=1e-5)
    # torchvision has a row for the background, and another beta, which changes large errors.
    theirs, _ = fastrcnn_loss(
        outputs.class_logits, torch.zeros(6, 12), labels, [torch.zeros(4, 4), torch.zeros(2, 4)]
    )
    torch.testing.assert_close(classes, theirs)


def test_mask_loss_equals_torchvisions():
    torch.manual_seed(0)
    _, instance_map = label_maps()
    logits, boxes = torch.randn(3, 2, 4, 4), boxes_in(3, 3)
    masks = torch.stack([(instance_map[0] == i).to(torch.uint8) for i in (1, 3, 9)])
    matched, labels = torch.tensor([1, 0, 2]), torch.tensor([0, 1, 1])  # labels of the masks
    theirs = maskrcnn_loss(logits, [boxes], [masks], [labels], [matched])
    target = project_masks_on_boxes(masks, boxes, matched, 4)
    torch.testing.assert_close(mask_loss(logits, labels[matched], target), theirs)


def test_without_boxes_losses_are_zero_with_gradients():
    logits = torch.zeros(0, 2, 4, 4, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(0).long(), torch.zeros(0, 4, 4))
    loss.backward()
    assert loss == 0 and logits.grad is not None
    outputs, rois, objects = heads()
    nothing = [RoIs(r.box[:0], r.object[:0]) for r in rois]
    empty = BoxOutputs(*(x[:0].requires_grad_() for x in outputs))
    terms = [
        *box_loss(empty, nothing, objects),
        box_embedding_loss(empty.embedding, nothing, (0, 1)),
    ]
    torch.stack(terms).sum().backward()
    assert all(t == 0 for t in terms) and all(x.grad is not None for x in empty)


def test_box_embedding_loss_pulls_rois_and_pushes_objects():
    _, rois, _ = heads()
    alike = F.one_hot(torch.tensor([0, 4, 1, 0, 4, 4]), 5).float()
    assert box_embedding_loss(alike, rois, (0.0, 2.0)) == 0  # orthogonal: L1 distance 2
    torn = F.one_hot(torch.tensor([0, 4, 1, 2, 4, 4]), 5).float()
    # Object 1 has rows 0 and 3: each 1 from their mean; its mean is 2 from object 0.
    expected = (1.0 + 0.0) / 2 / 2
    assert box_embedding_loss(torn, rois, (0.0, 2.0)).item() == pytest.approx(expected)
    same = F.one_hot(torch.zeros(6).long(), 5).float()
    assert box_embedding_loss(3 * same, rois, (0.0, 2.0)).item() == pytest.approx(4.0 / 2)


def test_gradcheck():
    torch.manual_seed(0)
    outputs, rois, objects = heads(torch.float64)
    leaves = [x.requires_grad_() for x in outputs]
    assert torch.autograd.gradcheck(
        lambda *x: torch.stack(
            [*box_loss(BoxOutputs(*x), rois, objects), box_embedding_loss(x[2], rois, (0.1, 1.7))]
        ),
        leaves,
    )
    logits = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    target = torch.rand(3, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: mask_loss(x, torch.tensor([1, 0, 1]), target), [logits]
    )
    objects, unknown = (
        find_objects(*label_maps(), IS_THING),
        void_or_crowd(*label_maps(), IS_THING),
    )
    objects = [o._replace(box=o.box.double()) for o in objects]
    leaves = [
        torch.randn(2, 20, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 20, 4, dtype=torch.float64, requires_grad=True),
    ]
    assert torch.autograd.gradcheck(
        lambda a, b: torch.stack(
            rpn_loss(a, b, boxes_in(20, 0, torch.float64), objects, unknown, 100)
        ),
        leaves,
    )


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (
            lambda: find_objects(torch.zeros(2, 3, 4).long(), torch.zeros(2, 3).long(), IS_THING),
            r'maps \(B, H, W\), got class_map \(2, 3, 4\) beside \(2, 3\)',
        ),
        (
            lambda: rpn_loss(
                torch.zeros(1, 5),
                torch.zeros(1, 5, 4),
                torch.zeros(4, 4),
                [],
                torch.zeros(1, 3, 3),
                8,
            ),
            r'rpn_loss expects.*\(4, 4\) and 0',
        ),
        (
            lambda: box_loss(heads()[0], heads()[1][:1], heads()[2]),
            'outputs for 4 RoIs and objects of 1 images, got 6 and 2',
        ),
        (
            lambda: mask_loss(
                torch.zeros(3, 2, 4, 4), torch.zeros(3).long(), torch.zeros(3, 4, 5)
            ),
            r'mask_loss expects.*\(3, 4, 5\)',
        ),
    ],
)
def test_wrong_shapes_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
