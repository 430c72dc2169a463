# SPDX-License-Identifier: Apache-2.0
"""Lovász loss against its definition by sets of pixels."""

import numpy as np
import pytest
import torch

from panoptic_training.losses.parts import lovasz
from panoptic_training.losses.parts.lovasz import lovasz_binary, lovasz_slope, lovasz_softmax

VOID = 255


def iou_loss_by_sets(prob, target):
    """Compute equations 3 to 5 from explicit sets of pixels, adding errors one by one."""
    error = [1 - p if t else p for p, t in zip(prob, target, strict=True)]
    order = sorted(range(len(error)), key=lambda i: -error[i])
    truth = {i for i, t in enumerate(target) if t}

    def iou(wrong):
        predicted = truth.symmetric_difference(wrong)
        union = truth | predicted
        return len(truth & predicted) / len(union) if union else 1.0

    return sum(
        error[i] * (iou(set(order[:k])) - iou(set(order[: k + 1]))) for k, i in enumerate(order)
    )


def random_mask(n, share, seed):
    rng = np.random.default_rng(seed)
    return rng.random(n), rng.random(n) < share


@pytest.fixture(params=['sorted', 'counted'])
def way(request, monkeypatch):
    """Use each of both ways to rank the errors, independent of the number of pixels."""
    monkeypatch.setattr(lovasz, 'COUNTING_SIZE', 0 if request.param == 'counted' else 10**9)
    return request.param


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ('n', 'share'),
    [
        (1, 1.0),  # one pixel, in the mask
        (1, 0.0),  # one pixel, no mask
        (7, 0.5),
        (200, 0.1),  # mostly background
        (200, 0.9),  # mostly foreground
        (200, 0.0),  # no positive: the largest error
        (200, 1.0),  # no negative: the mean error
    ],
)
def test_lovasz_binary_equals_the_set_definition(n, share, dtype, way):
    prob, target = random_mask(n, share, seed=n)
    loss = lovasz_binary(torch.tensor(prob, dtype=dtype), torch.tensor(target))
    assert loss.item() == pytest.approx(iou_loss_by_sets(prob, target), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ('prob', 'target', 'expected'),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 0.0),  # exact
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),  # all wrong
        ([1, 0, 0, 0], [1, 1, 0, 0], 0.5),  # hard masks: 1 - IoU
        ([1, 1, 1, 0], [1, 1, 0, 0], 1 / 3),  # one false positive
        ([0.5] * 4, [1, 1, 0, 0], 0.5),  # all errors are equal: error times J of all pixels
    ],
)
def test_lovasz_binary_of_hard_masks_is_one_minus_iou(prob, target, expected, way):
    loss = lovasz_binary(torch.tensor(prob, dtype=torch.float32), torch.tensor(target).bool())
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_lovasz_binary_without_pixels_is_zero():
    assert lovasz_binary(torch.zeros(0), torch.zeros(0, dtype=torch.bool)).item() == 0


def test_lovasz_binary_has_the_gradient_of_the_set_definition():
    prob, target = random_mask(40, 0.3, seed=3)
    x = torch.tensor(prob, requires_grad=True)
    lovasz_binary(x, torch.tensor(target)).backward()
    step = 1e-7
    for i in range(40):
        moved = np.where(np.arange(40) == i, step, 0)
        slope = (
            iou_loss_by_sets(prob + moved, target) - iou_loss_by_sets(prob - moved, target)
        ) / (2 * step)
        assert x.grad[i].item() == pytest.approx(slope, abs=1e-6)


def test_counted_and_sorted_slopes_agree_on_a_million_pixels():
    # Large maps are counted: float32 must represent slopes of size 1 / N accurately.
    generator = torch.Generator().manual_seed(0)
    error = torch.rand(2**20, generator=generator) ** 3
    target = torch.rand(2**20, generator=generator) < 0.01
    positives = int(target.sum())
    counted = lovasz_slope(error, target, positives)
    exact = lovasz._sorted_slope(error, target, positives, lovasz.MIN_ERROR)
    assert (counted @ error).item() == pytest.approx((exact @ error).item(), rel=1e-5)
    for members in (target, ~target):
        shift = (counted - exact)[members].abs().sum() / exact[members].sum()
        assert shift < 2e-3  # few, with the largest errors: their rank inside a level matters
    assert exact.double().sum().item() == pytest.approx(1, abs=2e-3)  # J if all pixels are wrong


@pytest.mark.parametrize('min_error', [1e-2, 1e-3, 1e-5])
def test_leaving_out_small_errors_changes_the_loss_by_at_most_min_error(min_error):
    rng = np.random.default_rng(1)
    prob = torch.tensor(np.exp(-20 * rng.random(3000)))  # similar to the decay of phi
    target = torch.tensor(rng.random(3000) < 0.05)
    exact = lovasz_binary(prob, target, min_error=0.0).item()
    assert exact - min_error <= lovasz_binary(prob, target, min_error).item() <= exact


def softmax_reference(prob, class_map, all_classes=False):
    flat, ids = np.moveaxis(prob, 1, -1).reshape(-1, prob.shape[1]), class_map.ravel()
    flat, ids = flat[ids != VOID], ids[ids != VOID]
    classes = range(prob.shape[1]) if all_classes else np.unique(ids)
    return float(np.mean([iou_loss_by_sets(flat[:, c], ids == c) for c in classes]))


def random_classes(seed, classes=4):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, classes, 5, 6))
    prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    class_map = rng.integers(0, classes - 1, (2, 5, 6))  # the last class is absent
    class_map[0, :2] = VOID
    return prob, class_map


@pytest.mark.parametrize('classes', ['present', 'all'])
def test_lovasz_softmax_is_the_mean_over_classes(classes, way):
    prob, class_map = random_classes(seed=2)
    loss = lovasz_softmax(torch.tensor(prob), torch.tensor(class_map), VOID, classes)
    assert loss.item() == pytest.approx(
        softmax_reference(prob, class_map, classes == 'all'), abs=1e-5
    )


def test_lovasz_softmax_leaves_void_without_gradient(way):
    prob, class_map = random_classes(seed=4)
    x = torch.tensor(prob, requires_grad=True)
    lovasz_softmax(x, torch.tensor(class_map), VOID, 'all').backward()
    void = torch.tensor(class_map == VOID)[:, None].expand_as(x)
    assert torch.all(x.grad[void] == 0)
    assert torch.any(x.grad[~void] != 0)


def test_lovasz_softmax_passes_gradcheck():
    prob, class_map = random_classes(seed=5)
    logits = torch.tensor(np.log(prob), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: lovasz_softmax(x.softmax(1), torch.tensor(class_map), VOID), logits
    )


@pytest.mark.parametrize('classes', ['present', 'all'])
def test_lovasz_softmax_of_void_is_zero_with_zero_gradient(classes):
    prob = torch.full((1, 3, 2, 2), 1 / 3, requires_grad=True)
    loss = lovasz_softmax(prob, torch.full((1, 2, 2), VOID), VOID, classes)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(prob.grad, torch.zeros_like(prob))


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (lambda: lovasz_binary(torch.zeros(3), torch.zeros(4).bool()), r'target \(N,\).*4'),
        (
            lambda: lovasz_softmax(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 4).long(), VOID),
            r'class_map \(B, h, w\).*\(1, 3, 4\)',
        ),
        (
            lambda: lovasz_softmax(torch.zeros(1, 2, 3, 3), torch.full((1, 3, 3), 2), VOID),
            'class id 2 for 2 classes',
        ),
    ],
)
def test_wrong_shapes_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
