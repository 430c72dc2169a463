# SPDX-License-Identifier: Apache-2.0
"""Targets and losses of FCOS against loops over locations."""

import math

import numpy as np
import pytest
import torch

from panoptic_ros.models.parts.fcos import STRIDES
from panoptic_training.losses.parts.fcos import (
    IGNORED,
    NO_OBJECT,
    FCOSTargets,
    centerness,
    fcos_loss,
    fcos_targets,
    iou_loss,
)

VOID = 255
CHANNEL = torch.tensor([-1, 0, -1, 1])  # class of the detector for each class
LIMITS = (20.0, 40.0, 80.0, 160.0)
HEIGHT, WIDTH = 96, 160
SIZES = [(math.ceil(HEIGHT / s), math.ceil(WIDTH / s)) for s in STRIDES]


def labels():
    """Make two images: things of all sizes, in pieces, at the border; crowd and void."""
    class_map = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    for i, (rows, columns, class_id) in enumerate(
        (
            (slice(0, 30), slice(0, 30), 1),  # in the corner
            (slice(40, 96), slice(20, 140), 3),  # large: P4 and P5 share its locations
            (slice(50, 60), slice(60, 70), 1),  # in front of it
            (slice(4, 12), slice(100, 104), 3),  # on the location at (100, 4) and (100, 12)
            (slice(1, 3), slice(150, 152), 1),  # between locations
            (slice(4, 30), slice(150, 160), 1),
        )
    ):
        class_map[0, rows, columns], instance_map[0, rows, columns] = class_id, 3 * i + 1
    instance_map[0, 70:75, 2:6], class_map[0, 70:75, 2:6] = 16, 1  # a second, distant piece
    class_map[0, 20:40, 40:60] = 3  # crowd
    class_map[0, 20:40, 64:90] = VOID
    instance_map[0, 20:30, 64:90] = 30  # an id under void does not count
    return class_map, instance_map


def reference(class_map, instance_map):
    """Return (channel, distances or None) of each location."""
    ids, instances = class_map.numpy(), instance_map.numpy()
    answers = []
    for b in range(len(ids)):
        row = []
        for level, ((rows, columns), s) in enumerate(zip(SIZES, STRIDES, strict=True)):
            for i, j in np.ndindex(rows, columns):
                y, x = s // 2 + i * s, s // 2 + j * s
                if y >= HEIGHT or x >= WIDTH:
                    row.append((NO_OBJECT, None))
                    continue
                class_id, instance = ids[b, y, x], instances[b, y, x]
                if class_id in (1, 3) and not instance:
                    row.append((IGNORED, None))
                    continue
                if class_id == VOID or not instance:
                    row.append((NO_OBJECT, None))
                    continue
                ys, xs = np.nonzero((instances[b] == instance) & (ids[b] != VOID))
                sides = (x - xs.min(), y - ys.min(), xs.max() + 1 - x, ys.max() + 1 - y)
                least, most = (0, *LIMITS)[level], (*LIMITS, math.inf)[level]
                found = least < max(sides) <= most
                row.append((int(CHANNEL[class_id]), sides) if found else (NO_OBJECT, None))
        answers.append(row)
    return answers


def test_targets_equal_the_slow_reference():
    targets = fcos_targets(*labels(), CHANNEL, SIZES, LIMITS)
    expected = reference(*labels())
    assert targets.channel.tolist() == [[channel for channel, _ in row] for row in expected]
    for b, row in enumerate(expected):
        for location, (_, sides) in enumerate(row):
            if sides is not None:
                assert targets.box[b, location].tolist() == list(sides)
    per_level = targets.positive[0].split([h * w for h, w in SIZES])
    assert [bool(level.any()) for level in per_level[:3]] == [True] * 3
    assert not targets.positive[1].any()
    assert (targets.channel == IGNORED).any()


def test_an_instance_of_one_pixel_under_a_location_is_found():
    class_map = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[0, 12, 20], instance_map[0, 12, 20] = 1, 5
    targets = fcos_targets(class_map, instance_map, CHANNEL, SIZES, LIMITS)
    at = (12 - 4) // 8 * SIZES[0][1] + (20 - 4) // 8
    assert targets.positive.nonzero().tolist() == [[0, at]]
    assert targets.box[0, at].tolist() == [0, 0, 1, 1]
    logits = torch.zeros(1, targets.channel.shape[1], 2, requires_grad=True)
    box = torch.ones(1, targets.channel.shape[1], 4, requires_grad=True)
    terms = fcos_loss(logits, box, logits[..., 0], targets)  # its centerness is 0
    sum(terms.values()).backward()
    assert terms['box'].item() == 0 and logits.grad.isfinite().all() and box.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    targets = fcos_targets(*labels(), CHANNEL, SIZES, LIMITS)
    generator = torch.Generator().manual_seed(0)
    logits, box, center = (
        torch.randn(2, targets.channel.shape[1], n, generator=generator).to(dtype)
        for n in (2, 4, 1)
    )
    box = box.exp()
    exact = fcos_loss(logits.float(), box.float(), center.float()[..., 0], targets)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = fcos_loss(logits, box, center[..., 0], targets)
    assert all(torch.equal(value, exact[name]) for name, value in terms.items())


def test_void_holds_no_objects():
    class_map, instance_map = labels()
    targets = fcos_targets(class_map.fill_(VOID), instance_map, CHANNEL, SIZES, LIMITS)
    assert (targets.channel == NO_OBJECT).all()


def test_crowd_has_no_gradient():
    class_map, instance_map = labels()
    targets = fcos_targets(class_map.fill_(3), instance_map.zero_(), CHANNEL, SIZES, LIMITS)
    in_image = [
        y < HEIGHT and x < WIDTH
        for (h, w), s in zip(SIZES, STRIDES, strict=True)
        for y in range(s // 2, s * h, s)
        for x in range(s // 2, s * w, s)
    ]
    assert (targets.channel == IGNORED)[0].tolist() == in_image
    logits = torch.randn(*targets.channel.shape, 2, requires_grad=True)
    terms = fcos_loss(
        logits[:, in_image],
        torch.ones(2, sum(in_image), 4),
        torch.zeros(2, sum(in_image)),
        FCOSTargets(targets.channel[:, in_image], targets.box[:, in_image]),
    )
    assert terms['class'].item() == 0


def test_targets_refuse_wrong_shapes_and_limits():
    class_map, instance_map = labels()
    with pytest.raises(ValueError, match=r'class_map and instance_map \(B, H, W\)'):
        fcos_targets(class_map, instance_map[:, 1:], CHANNEL, SIZES, LIMITS)
    with pytest.raises(ValueError, match='5 sizes and 4 limits, got 5 and 3'):
        fcos_targets(class_map, instance_map, CHANNEL, SIZES, LIMITS[:3])


@pytest.mark.parametrize(
    ('box', 'expected'),
    [
        ((5, 5, 5, 5), 1.0),
        ((0, 5, 10, 5), 0.0),
        ((2, 5, 8, 5), 0.5),
        ((2, 2, 8, 8), 0.25),
        ((0, 0, 0, 0), 0.0),  # not NaN
    ],
)
def test_centerness(box, expected):
    assert centerness(torch.tensor(box, dtype=torch.float32)).item() == pytest.approx(expected)


def predictions(count, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return [
        normal(2, count, 2).requires_grad_(),
        normal(2, count, 4).exp().requires_grad_(),
        normal(2, count).requires_grad_(),
    ]


def some_targets():
    channel = torch.tensor([[0, 1, NO_OBJECT, IGNORED, 1], [NO_OBJECT, IGNORED, 0, 0, NO_OBJECT]])
    box = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(5)) * 3
    box[0, 1, 0] = 0  # a location on the border of its box
    return FCOSTargets(channel, box)


def test_losses_equal_the_slow_reference():
    logits, box, center = predictions(5)
    targets = some_targets()
    terms = fcos_loss(logits, box, center, targets)
    logits_, center_ = logits.tolist(), center.tolist()
    focal, reg, bce, weights, positives = 0.0, 0.0, 0.0, 0.0, 0
    for b, i in np.ndindex(2, 5):
        channel = int(targets.channel[b, i])
        if channel == IGNORED:
            continue
        for c in range(2):
            p = 1 / (1 + math.exp(-logits_[b][i][c]))
            focal += (
                -0.25 * (1 - p) ** 2 * math.log(p)
                if c == channel
                else -0.75 * p**2 * math.log(1 - p)
            )
        if channel == NO_OBJECT:
            continue
        positives += 1
        (x1, y1, x2, y2), (gx1, gy1, gx2, gy2) = box[b, i].tolist(), targets.box[b, i].tolist()
        shared = (min(x1, gx1) + min(x2, gx2)) * (min(y1, gy1) + min(y2, gy2))
        union = (x1 + x2) * (y1 + y2) + (gx1 + gx2) * (gy1 + gy2) - shared
        w = math.sqrt(min(gx1, gx2) / max(gx1, gx2) * min(gy1, gy2) / max(gy1, gy2))
        reg, weights = reg - w * math.log(shared / union), weights + w
        p = 1 / (1 + math.exp(-center_[b][i]))
        bce -= w * math.log(p) + (1 - w) * math.log(1 - p)
    expected = {'class': focal / positives, 'box': reg / weights, 'centerness': bce / positives}
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-6)


def test_gradcheck():
    targets = some_targets()
    assert torch.autograd.gradcheck(
        lambda *args: sum(fcos_loss(*args, targets).values()), predictions(5), fast_mode=True
    )


def test_without_an_object_every_output_has_a_gradient():
    args = predictions(5)
    targets = FCOSTargets(torch.full((2, 5), NO_OBJECT), torch.zeros(2, 5, 4))
    terms = fcos_loss(*args, targets)
    sum(terms.values()).backward()
    assert terms['box'].item() == terms['centerness'].item() == 0
    assert all(x.grad.isfinite().all() for x in args)
    assert args[0].grad.any()
    assert not args[1].grad.any() and not args[2].grad.any()


def test_a_perfect_box_has_no_cost():
    box = torch.tensor([[3.0, 4.0, 5.0, 0.5], [0.0, 1.0, 2.0, 3.0]])
    assert iou_loss(box, box).abs().max() < 1e-6


@pytest.mark.parametrize(
    ('position', 'wrong', 'match'),
    [
        (0, torch.zeros(2, 4, 2), 'class_logits.*got.*2, 4, 2'),
        (1, torch.zeros(2, 5, 3), 'box.*2, 5, 3'),
        (2, torch.zeros(2, 5, 1), 'centerness_logits.*2, 5, 1'),
    ],
)
def test_wrong_shapes_are_refused(position, wrong, match):
    args = predictions(5)
    args[position] = wrong
    with pytest.raises(ValueError, match=match):
        fcos_loss(*args, some_targets())


def test_iou_loss_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r'target \(N, 4\), got \(3, 4\), \(2, 4\)'):
        iou_loss(torch.ones(3, 4), torch.ones(2, 4))
