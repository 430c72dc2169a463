# SPDX-License-Identifier: Apache-2.0
"""Panoptic-DeepLab's loss against loops over pixels."""

import math
from dataclasses import replace

import pytest
import torch
from label_maps import IS_THING, VOID, labels

from panoptic_training.losses.panoptic_deeplab import (
    PanopticDeepLabLossConfig,
    hard_cross_entropy,
    heatmap_mse,
    offset_loss,
    panoptic_deeplab_loss,
)

STRIDE = 4
CONFIG = PanopticDeepLabLossConfig()
TERMS = ('semantic', 'center', 'offset')


def arguments(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    values = [normal(2, 4, 6, 8), normal(2, 1, 6, 8), 10 * normal(2, 2, 6, 8)]
    return [v.to(dtype).requires_grad_() for v in values]


def reference(args, class_map, instance_map, config):
    """Return all terms, pixel by pixel."""
    logits, heatmap, offset = (x.detach().double() for x in args)
    pixels = [(b, y, x) for b in range(2) for y in range(6) for x in range(8)]
    members = {}
    for p in pixels:
        if instance_map[p] and class_map[p] != VOID:
            members.setdefault((p[0], int(instance_map[p])), []).append(p)
    centers = {
        key: (sum(p[1] for p in ps) / len(ps), sum(p[2] for p in ps) / len(ps))
        for key, ps in members.items()
    }

    costs = []
    for b, y, x in pixels:
        if class_map[b, y, x] == VOID:
            continue
        scores = [math.exp(v) for v in logits[b, :, y, x].tolist()]
        cost = -math.log(scores[class_map[b, y, x]] / sum(scores))
        own = members.get((b, int(instance_map[b, y, x])), [])
        small = own and len(own) * STRIDE**2 < config.small_instance_area
        costs.append(cost * (config.small_instance_weight if small else 1))
    number = max(int(config.hard_pixels * len(pixels)), 1)
    hardest = sorted(costs, reverse=True)[:number]
    semantic = sum(hardest) / len(hardest)

    squares, sigma = [], config.sigma / STRIDE
    for b, y, x in pixels:
        crowd = (
            IS_THING[class_map[b, y, x]] and not instance_map[b, y, x]
            if class_map[b, y, x] != VOID
            else True
        )
        if crowd:
            continue
        target = 0.0
        for (image, _), center in centers.items():
            cy, cx = (math.floor(c + 0.5) for c in center)
            if image == b and max(abs(y - cy), abs(x - cx)) <= 3 * sigma:
                target = max(target, math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 2 / sigma**2))
        squares.append((heatmap[b, 0, y, x].item() - target) ** 2)

    distances = [
        abs(offset[b, 0, y, x].item() - (centers[key][0] - y) * STRIDE)
        + abs(offset[b, 1, y, x].item() - (centers[key][1] - x) * STRIDE)
        for key, ps in members.items()
        for b, y, x in ps
    ]
    terms = {
        'semantic': config.semantic_weight * semantic,
        'center': config.center_weight * sum(squares) / len(squares),
        'offset': config.offset_weight * sum(distances) / len(distances),
    }
    return {**terms, 'loss': sum(terms.values())}


@pytest.mark.parametrize(
    'config',
    [
        CONFIG,
        replace(CONFIG, hard_pixels=1.0),  # all pixels, as on COCO
        replace(CONFIG, hard_pixels=0.97),  # more than those that are not void
        replace(CONFIG, small_instance_area=130.0),  # the two smaller instances are small
        replace(CONFIG, small_instance_weight=1.0, sigma=3.0),
        replace(CONFIG, semantic_weight=2.0, center_weight=0.5, offset_weight=3.0),
    ],
)
def test_every_term_equals_the_slow_reference(config):
    args = arguments()
    terms = panoptic_deeplab_loss(*args, *labels(), IS_THING, STRIDE, config)
    expected = reference(args, *labels(), config)
    assert set(terms) == set(expected)
    for name, value in terms.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-6), name


@pytest.mark.parametrize('config', [CONFIG, replace(CONFIG, hard_pixels=1.0)])
def test_gradcheck(config):
    assert torch.autograd.gradcheck(
        lambda *args: panoptic_deeplab_loss(*args, *labels(), IS_THING, STRIDE, config)['loss'],
        arguments(),
        fast_mode=True,
    )


@pytest.mark.parametrize(
    ('edit', 'zero'),
    [
        (lambda c, i: (c.fill_(VOID), i), TERMS),  # void only
        (lambda c, i: (c.fill_(VOID), i.fill_(1)), TERMS),  # ids under void do not count
        (lambda c, i: (c.fill_(0), i.zero_()), ('offset',)),  # stuff only
        (lambda c, i: (c.fill_(2), i.zero_()), ('offset', 'center')),  # crowd only
    ],
)
def test_ignored_pixels_have_no_cost_and_no_gradient(edit, zero):
    args = arguments()
    terms = panoptic_deeplab_loss(*args, *edit(*labels()), IS_THING, STRIDE, CONFIG)
    for name in zero:
        assert terms[name].item() == 0, name
        grads = torch.autograd.grad(terms[name], args, retain_graph=True, allow_unused=True)
        assert all(g is None or not g.any() for g in grads), name
    terms['loss'].backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in args)


def test_perfect_maps_have_nearly_no_cost():
    class_map, instance_map = torch.zeros(1, 9, 9).long(), torch.zeros(1, 9, 9).long()
    class_map[0, 3:6, 2:7], instance_map[0, 3:6, 2:7] = 2, 1
    y, x = torch.meshgrid(torch.arange(9), torch.arange(9), indexing='ij')
    heatmap = torch.exp(-((y - 4) ** 2 + (x - 4) ** 2) / (2 * 2.0**2))[None, None]
    offset = STRIDE * torch.stack([4 - y, 4 - x])[None].float()
    logits = 20 * torch.nn.functional.one_hot(class_map, 4).movedim(-1, 1).float()
    terms = panoptic_deeplab_loss(
        logits, heatmap, offset, class_map, instance_map, IS_THING, STRIDE, CONFIG
    )
    assert terms['loss'].item() < 1e-4


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    args = [x.detach().to(dtype) for x in arguments()]
    exact = panoptic_deeplab_loss(*(x.float() for x in args), *labels(), IS_THING, STRIDE, CONFIG)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = panoptic_deeplab_loss(*args, *labels(), IS_THING, STRIDE, CONFIG)
    assert all(value.dtype == torch.float32 for value in terms.values())
    assert all(torch.equal(value, exact[name]) for name, value in terms.items())


@pytest.mark.parametrize(
    ('weight', 'expected'),
    [
        (torch.ones(1, 2, 2), 2.0),  # |dy| + |dx| = 1 + 1 everywhere
        (torch.eye(2)[None], 2.0),  # ignored pixels do not dilute the mean
        (torch.zeros(1, 2, 2), 0.0),  # no thing in view: zero, not NaN
    ],
)
def test_offset_loss_averages_weighted_pixels(weight, expected):
    pred = torch.ones(1, 2, 2, 2)
    assert offset_loss(pred, torch.zeros_like(pred), weight).item() == expected


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (
            lambda: offset_loss(
                torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4), torch.zeros(1, 3, 3)
            ),
            r'offset_loss expects .* got \(1, 2, 3, 3\), \(1, 2, 3, 4\), \(1, 3, 3\)',
        ),
        (
            lambda: heatmap_mse(
                torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 3, 3), torch.zeros(1, 3, 3)
            ),
            r'heatmap_mse expects .* got \(1, 2, 3, 3\), \(1, 1, 3, 3\)',
        ),
        (
            lambda: hard_cross_entropy(
                torch.zeros(1, 4, 3, 3), torch.zeros(3, 3).long(), torch.zeros(1, 3, 3), 1.0
            ),
            r'hard_cross_entropy expects .* got \(1, 4, 3, 3\), \(3, 3\)',
        ),
    ],
)
def test_parts_refuse_wrong_shapes(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize(
    ('position', 'wrong', 'match'),
    [
        (0, torch.zeros(2, 6, 8), r'semantic_logits \(B, C, h, w\), got \(2, 6, 8\)'),
        (1, torch.zeros(2, 2, 6, 8), r'heatmap \(2, 1, 6, 8\).*got \(2, 2, 6, 8\)'),
        (2, torch.zeros(2, 1, 6, 8), r'offset \(2, 2, 6, 8\).*got \(2, 1, 6, 8\)'),
        (3, torch.zeros(2, 6, 9).long(), r'class_map \(2, 6, 8\).*got \(2, 6, 9\)'),
        (4, torch.zeros(6, 8).long(), r'instance_map \(2, 6, 8\).*got \(6, 8\)'),
        (5, torch.zeros(5).bool(), r'is_thing \(4,\).*got \(5,\)'),
    ],
)
def test_wrong_shapes_are_refused(position, wrong, match):
    args = [*arguments(), *labels(), IS_THING]
    args[position] = wrong
    with pytest.raises(ValueError, match=match):
        panoptic_deeplab_loss(*args, STRIDE, CONFIG)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'hard_pixels': 0.0}, 'loss.hard_pixels must lie above 0 and up to 1, got 0'),
        ({'sigma': 0.0}, 'loss.sigma must be above 0, got 0'),
        ({'center_weight': -1.0}, 'loss.center_weight must not be negative, got -1'),
    ],
)
def test_invalid_settings_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        PanopticDeepLabLossConfig(**values)
