# SPDX-License-Identifier: Apache-2.0
"""EINet's loss and dictionary against loops over cells."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from label_maps import IS_THING, VOID, labels

from panoptic_training.losses.einet import (
    EINetLossConfig,
    corner_radius,
    einet_loss,
    penalty_reduced_focal,
    released_radius,
    update_dictionary,
)

STRIDE = 4
CONFIG = EINetLossConfig()
RADII = {'released': released_radius, 'exact': corner_radius}


def arguments(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    values = [normal(2, 4, 6, 8), normal(2, 2, 6, 8), 10 * normal(2, 2, 6, 8)]
    return [v.to(dtype).requires_grad_() for v in values]


@pytest.mark.parametrize(('height', 'width'), [(10, 10), (3, 20), (1, 1), (40, 7.5)])
@pytest.mark.parametrize('overlap', [0.2, 0.7, 0.95])
def test_corner_radius_is_the_largest_shift_that_keeps_the_overlap(height, width, overlap):
    area = height * width

    def worst(r):
        h, w = max(height - r, 0), max(width - r, 0)
        moved = h * w / (2 * area - h * w)
        shrunk = max(height - 2 * r, 0) * max(width - 2 * r, 0) / area
        grown = area / ((height + 2 * r) * (width + 2 * r))
        return min(moved, shrunk, grown)

    steps = np.linspace(0, max(height, width), 200_001)
    radius = max(r for r in steps if worst(r) >= overlap)
    assert corner_radius(height, width, overlap) == pytest.approx(radius, abs=1e-3)


@pytest.mark.parametrize('overlap', [0.05, 0.3, 0.7, 0.95])
def test_released_radius_is_that_of_the_public_code(overlap):
    for height, width in [(25, 60), (1, 1), (3, 200), (40, 40), (7, 9)]:
        side, area = height + width, height * width
        roots = [
            (b + math.sqrt(b * b - 4 * a * c)) / 2
            for a, b, c in (
                (1, side, area * (1 - overlap) / (1 + overlap)),
                (4, 2 * side, (1 - overlap) * area),
                (4 * overlap, -2 * overlap * side, (overlap - 1) * area),
            )
        ]
        assert released_radius(height, width, overlap) == int(min(roots))


def test_the_released_sigma_is_three_times_the_exact_one():
    """An instance of 25 x 60 cells: 3.2 cells in CenterNet's code, 1.1 by the equations."""
    sigmas = [(2 * radius(25, 60, 0.7) + 1) / 6 for radius in (released_radius, corner_radius)]
    assert sigmas == pytest.approx([3.17, 1.11], abs=0.01)


def reference_center(heatmap, class_map, instance_map, kind, config):
    """Return the term of the heatmaps pixel by pixel, without its weight."""
    heatmap = heatmap.detach().double()
    peaks = {}  # (image, map) -> [(y, x, sigma)]
    for b, i in ((0, 1), (0, 2), (0, 3)):
        at = torch.nonzero((instance_map[b] == i) & (class_map[b] != VOID)).double()
        cy, cx = (math.floor(c + 0.5) for c in at.mean(dim=0).tolist())
        h, w = (at.amax(dim=0) - at.amin(dim=0) + 1).tolist()
        sigma = (
            (2 * RADII[config.kernel_radius](h, w, config.min_overlap) + 1) / 6
            if config.adaptive_kernel
            else config.sigma / STRIDE
        )
        channel = int(class_map[(b, *at[0].long().tolist())]) - 2
        peaks.setdefault((b, channel), []).append((cy, cx, sigma))
    total, pixels, centers = 0.0, 0, 0
    for b in range(2):
        for y in range(6):
            for x in range(8):
                class_id = int(class_map[b, y, x])
                if class_id == VOID or (IS_THING[class_id] and not instance_map[b, y, x]):
                    continue
                pixels += 1
                for m in range(2):
                    target = 0.0
                    for cy, cx, sigma in peaks.get((b, m), []):
                        if max(abs(y - cy), abs(x - cx)) <= math.floor(3 * sigma):
                            target = max(
                                target, math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
                            )
                    value = heatmap[b, m, y, x].item()
                    if kind == 'mse':
                        total += (value - target) ** 2
                        continue
                    p = 1 / (1 + math.exp(-value))
                    if target == 1:
                        centers += 1
                        total -= (1 - p) ** 2 * math.log(p)
                    else:
                        total -= (1 - target) ** 4 * p**2 * math.log(1 - p)
    return total / (pixels if kind == 'mse' else max(centers, 1))


@pytest.mark.parametrize('kind', ['mse', 'focal'])
@pytest.mark.parametrize(
    'config',
    [
        CONFIG,
        replace(CONFIG, min_overlap=0.1),
        replace(CONFIG, kernel_radius='exact', min_overlap=0.1),  # wider Gaussians
        replace(CONFIG, adaptive_kernel=False),  # sigma is 8 px for all
        replace(CONFIG, center_weight=3.0, focal_weight=0.5),
    ],
)
def test_the_heatmap_term_equals_the_slow_reference(config, kind):
    args = arguments()
    terms = einet_loss(*args, *labels(), IS_THING, STRIDE, kind, config)
    weight = config.center_weight if kind == 'mse' else config.focal_weight
    expected = weight * reference_center(args[1], *labels(), kind, config)
    assert terms['center'].item() == pytest.approx(expected, rel=1e-6)
    parts = terms['semantic'] + terms['center'] + terms['offset']
    assert terms['loss'].item() == pytest.approx(parts.item())


@pytest.mark.parametrize('kind', ['mse', 'focal'])
def test_the_heatmap_is_drawn_at_stride_4_for_every_stride(kind):
    semantic, heatmap, offset = arguments()
    coarse = labels()
    expected = einet_loss(semantic, heatmap, offset, *coarse, IS_THING, STRIDE, kind, CONFIG)
    for stride in (2, 1):
        fine = [
            x.repeat_interleave(4 // stride, -1).repeat_interleave(4 // stride, -2)
            for x in (semantic, offset, *coarse)
        ]
        terms = einet_loss(fine[0], heatmap, *fine[1:], IS_THING, stride, kind, CONFIG, coarse)
        assert terms['center'].item() == expected['center'].item()
    with pytest.raises(ValueError, match='at stride 2 needs the labels at stride 4'):
        einet_loss(fine[0], heatmap, *fine[1:], IS_THING, 2, kind, CONFIG)


@pytest.mark.parametrize('kind', ['mse', 'focal'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype, kind):
    half = [x.detach() for x in arguments(dtype)]
    exact = einet_loss(*(x.float() for x in half), *labels(), IS_THING, STRIDE, kind, CONFIG)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = einet_loss(*half, *labels(), IS_THING, STRIDE, kind, CONFIG)
    assert all(torch.equal(value, exact[name]) for name, value in terms.items())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_the_dictionary_of_half_precision_is_summed_in_float32(dtype):
    embedding = torch.full((1, 3, 40, 50), 60.0, dtype=dtype)  # the sums exceed float16
    dictionary = torch.zeros(2, 3)
    with torch.autocast('cpu', dtype=dtype):
        update_dictionary(dictionary, embedding, torch.zeros(1, 40, 50).long(), 0.9)
    assert dictionary.tolist() == [[60.0] * 3, [0.0] * 3]


@pytest.mark.parametrize('kind', ['mse', 'focal'])
def test_gradcheck(kind):
    assert torch.autograd.gradcheck(
        lambda *args: einet_loss(*args, *labels(), IS_THING, STRIDE, kind, CONFIG)['loss'],
        arguments(),
        fast_mode=True,
    )


@pytest.mark.parametrize('kind', ['mse', 'focal'])
@pytest.mark.parametrize(
    ('edit', 'zero'),
    [
        (lambda c, i: (c.fill_(VOID), i), ('semantic', 'center', 'offset')),
        (lambda c, i: (c.fill_(0), i.zero_()), ('offset',)),  # stuff only
        (lambda c, i: (c.fill_(2), i.zero_()), ('center', 'offset')),  # crowd only
    ],
)
def test_ignored_pixels_have_no_cost_and_no_gradient(kind, edit, zero):
    args = arguments()
    terms = einet_loss(*args, *edit(*labels()), IS_THING, STRIDE, kind, CONFIG)
    for name in zero:
        assert terms[name].item() == 0, name
    terms['loss'].backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in args)


def test_extreme_focal_logits_stay_finite():
    logits = torch.tensor([-200.0, 200.0]).view(1, 1, 1, 2).requires_grad_()
    target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    loss = penalty_reduced_focal(logits, target, torch.ones(1, 1, 2))
    loss.backward()
    assert loss.item() == pytest.approx(400)
    assert logits.grad.isfinite().all()


def reference_dictionary(dictionary, embedding, class_map, momentum):
    result = dictionary.clone()
    for j in range(len(dictionary)):
        members = [
            embedding[b, :, y, x]
            for b, y, x in np.ndindex(*class_map.shape)
            if class_map[b, y, x] == j
        ]
        if members:
            mean = torch.stack(members).mean(dim=0)
            result[j] = (
                momentum * dictionary[j] + (1 - momentum) * mean if dictionary[j].any() else mean
            )
    return result


@pytest.mark.parametrize('momentum', [0.0, 0.9])
def test_the_dictionary_follows_equation_1(momentum):
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(5, 6, generator=generator)
    dictionary[2] = 0  # new class; class 4 is not in the batch
    class_map, _ = labels()
    for step in range(3):
        embedding = torch.randn(2, 6, 6, 8, generator=generator)
        expected = reference_dictionary(dictionary, embedding, class_map, momentum)
        update_dictionary(dictionary, embedding, class_map, momentum)
        assert torch.allclose(dictionary, expected, atol=1e-6), step


def test_the_dictionary_uses_the_batches_of_all_processes(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    embedding, (class_map, _) = torch.randn(2, 6, 6, 8, generator=generator), labels()
    whole = torch.zeros(4, 6)
    update_dictionary(whole, embedding, class_map, 0.9)
    sent = []
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda x: sent.append(x.clone()))
    update_dictionary(torch.zeros(4, 6), embedding[1:], class_map[1:], 0.9)
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda x: x.add_(sent.pop(0)))
    together = torch.zeros(4, 6)
    update_dictionary(together, embedding[:1], class_map[:1], 0.9)
    assert torch.allclose(together, whole, atol=1e-6)


def test_a_void_batch_changes_no_centre():
    dictionary = torch.randn(4, 6)
    before = dictionary.clone()
    update_dictionary(dictionary, torch.randn(2, 6, 6, 8), torch.full((2, 6, 8), VOID), 0.9)
    assert torch.equal(dictionary, before)


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (
            lambda: einet_loss(
                torch.zeros(2, 4, 6, 8),
                torch.zeros(2, 1, 6, 8),
                torch.zeros(2, 2, 6, 8),
                *labels(),
                IS_THING,
                4,
                'mse',
                CONFIG,
            ),
            r'heatmap \(2, 2, 6, 8\).*got \(2, 1, 6, 8\)',
        ),
        (
            lambda: penalty_reduced_focal(
                torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(3, 3)
            ),
            r'penalty_reduced_focal expects ',
        ),
        (
            lambda: update_dictionary(
                torch.zeros(4, 5), torch.zeros(2, 6, 6, 8), torch.zeros(2, 6, 8).long(), 0.9
            ),
            r'update_dictionary expects .* got \(4, 5\), \(2, 6, 6, 8\), \(2, 6, 8\)',
        ),
    ],
)
def test_wrong_shapes_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'momentum': 1.0}, 'loss.momentum must lie in 0 to below 1, got 1'),
        ({'min_overlap': 0.0}, 'loss.min_overlap must lie between 0 and 1, got 0'),
        ({'focal_weight': -1.0}, 'loss.focal_weight must not be negative, got -1'),
        ({'sigma': 0.0}, 'loss.sigma must be above 0'),
    ],
)
def test_invalid_settings_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        EINetLossConfig(**values)
