# SPDX-License-Identifier: Apache-2.0
"""PISR's block against its equations, written out row by row."""

import math

import pytest
import torch

from panoptic_ros.models.pisr.block import (
    PISRBlock,
    Reweighting,
    correlate,
    instance_encodings,
    semantic_encodings,
)

D, C, K, H, W = 8, 3, 4, 3, 5


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, D, H, W, generator=generator, dtype=dtype)
    class_maps = torch.randn(2, C, H, W, generator=generator, dtype=dtype) * 2
    heatmaps = torch.rand(2, K, H, W, generator=generator, dtype=dtype)
    alive = torch.tensor([[True, True, False, True], [False, False, False, False]])
    return features, class_maps, heatmaps * alive[:, :, None, None], alive


def cells():
    return [(y, x) for y in range(H) for x in range(W)]


def reference_encodings(features, class_maps, heatmaps):
    """Return the encodings of one image's classes (C, D) and instances (K, D)."""
    semantic = []
    for c in range(C):
        weights = [math.exp(class_maps[c, y, x]) for y, x in cells()]
        semantic.append(
            sum(w * features[:, y, x] for w, (y, x) in zip(weights, cells(), strict=True))
            / sum(weights)
        )
    instance = []
    for k in range(K):
        total = sum(float(heatmaps[k, y, x]) for y, x in cells())
        mean = sum(heatmaps[k, y, x] * features[:, y, x] for y, x in cells())
        instance.append(mean / total if total else torch.zeros(D, dtype=features.dtype))
    return torch.stack(semantic), torch.stack(instance)


def test_encodings_are_weighted_means():
    features, class_maps, heatmaps, _ = inputs()
    semantic = semantic_encodings(features, class_maps)
    instance = instance_encodings(features, heatmaps)
    for b in range(2):
        expected = reference_encodings(features[b], class_maps[b], heatmaps[b])
        assert torch.allclose(semantic[b].double(), expected[0], atol=1e-5)
        assert torch.allclose(instance[b].double(), expected[1], atol=1e-5)
    assert not instance[1].any(), 'heatmaps of zeros encode to zeros, not NaN'


def similarity(a, b, kind):
    if kind == 'matmul':
        return a @ b
    if kind == 'cosine':
        return a @ b / (a.norm() * b.norm()).clamp(min=1e-12)
    return -(a - b).norm()


@pytest.mark.parametrize('kind', ['matmul', 'cosine', 'l2'])
def test_correlate_compares_each_row_with_each_column(kind):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    columns = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    result = correlate(rows, columns, kind)
    for b in range(2):
        for r in range(4):
            for p in range(5):
                assert result[b, r, p].item() == pytest.approx(
                    similarity(rows[b, r], columns[b, :, p], kind).item(), abs=1e-6
                )


def test_equal_vectors_have_no_l2_distance_and_a_finite_gradient():
    rows = torch.ones(1, 1, 3, requires_grad=True)
    result = correlate(rows, torch.ones(1, 3, 1), 'l2')
    result.sum().backward()
    assert abs(result.item()) < 1e-2
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize(
    ('kind', 'hidden'),
    [('explicit', 2), ('explicit', 4), ('implicit', 2), ('separated', 2), ('implicit', 0)],
)
def test_reweighting_equals_its_figure(kind, hidden):
    torch.manual_seed(0)
    module = Reweighting(D, kind, hidden)
    semantic, instance = torch.randn(1, C, D), torch.randn(1, K, D)
    linears = [layer for layer in module.mlp if isinstance(layer, torch.nn.Linear)]
    assert len(linears) == hidden + 1
    with torch.no_grad():
        result = module(semantic, instance)[0]
        for n, row in enumerate([*semantic[0], *instance[0]]):
            if kind == 'separated':
                layer = module.semantic if n < C else module.instance
                row = layer.weight @ row + layer.bias
            x = row
            for i, layer in enumerate(linears):
                x = layer.weight @ x + layer.bias
                x = x.clamp(min=0) if i < hidden else x
            expected = row / (1 + torch.exp(-x)) if kind == 'explicit' else x
            assert torch.allclose(result[n], expected, atol=1e-6)


@pytest.mark.parametrize(
    ('f1', 'f2', 'softmax'),
    [
        ('matmul', 'matmul', True),
        ('matmul', 'matmul', False),
        ('cosine', 'matmul', True),
        ('matmul', 'cosine', True),
        ('l2', 'l2', True),
        ('matmul', 'l2', True),
        ('l2', 'matmul', False),
    ],
)
def test_the_block_equals_its_equations(f1, f2, softmax):
    torch.manual_seed(1)
    block = PISRBlock(D, 'explicit', 2, f1, f2, softmax).eval()
    features, class_maps, heatmaps, alive = inputs(torch.float32)
    with torch.no_grad():
        for p in block.parameters():
            if p.ndim > 1:
                p.normal_(0, 0.4)
        result = block(features, class_maps, heatmaps, alive)
        query = block.project(features)
        related = torch.zeros_like(features)
        for b in range(2):
            semantic, instance = reference_encodings(features[b], class_maps[b], heatmaps[b])
            # Rows without an instance are left out.
            encodings = block.reweight(semantic[None], instance[alive[b]][None])[0]
            g_s, g_p = block.spatial(encodings), block.panoptic(encodings)
            for y, x in cells():
                spatial = torch.stack([similarity(g, query[b, :, y, x], f1) for g in g_s])
                if softmax:
                    scaled = spatial / math.sqrt(D) if f1 == 'matmul' else spatial
                    spatial = torch.exp(scaled) / torch.exp(scaled).sum()
                for d in range(D):
                    related[b, d, y, x] = similarity(g_p[:, d], spatial, f2)
        expected = block.fuse(torch.cat([features, related], dim=1))
    assert torch.allclose(result, expected, atol=2e-4)


@pytest.mark.parametrize('training', [False, True])
def test_h_of_the_spatial_maps_equals_the_formula(training):
    """F_pan = g_p(E^T) h(F_sp), with F_sp = g_s(E) h(F)."""
    torch.manual_seed(1)
    block = PISRBlock(D, spatial_softmax=False, spatial_h=True).train(training)
    features, class_maps, heatmaps, alive = inputs(torch.float32)
    with torch.no_grad():
        block.project_spatial[0].weight.fill_(0.7)
        result = block(features, class_maps, heatmaps, alive)
        query = block.project(features)
        spatial, g_p = torch.zeros(2, C + K, H, W), torch.zeros(2, C + K, D)
        for b in range(2):
            semantic, instance = reference_encodings(features[b], class_maps[b], heatmaps[b])
            encodings = block.reweight(semantic[None], instance[None])[0]
            g_s = block.spatial(encodings)
            for n in range(C + K):
                if n < C or alive[b, n - C]:
                    g_p[b, n] = block.panoptic(encodings)[n]
                    for y, x in cells():
                        spatial[b, n, y, x] = g_s[n] @ query[b, :, y, x]
        mixed = 0.7 * spatial
        eps = block.project_spatial[1].eps
        if training:
            mixed = (mixed - mixed.mean()) / (mixed.var(correction=0) + eps).sqrt()
        else:
            mixed = mixed / math.sqrt(1 + eps)
        related = torch.zeros_like(features)
        for b in range(2):
            for d in range(D):
                for n in range(C + K):
                    related[b, d] += g_p[b, n, d] * mixed[b, n].relu()
        expected = block.fuse(torch.cat([features, related], dim=1))
    assert torch.allclose(result, expected, atol=2e-4)


@pytest.mark.parametrize('spatial_h', [False, True])
def test_more_room_for_instances_changes_nothing(spatial_h):
    block = PISRBlock(D, spatial_h=spatial_h).eval()
    features, class_maps, heatmaps, alive = inputs(torch.float32)
    more = torch.cat([heatmaps, torch.rand(2, 3, H, W)], dim=1)
    none = torch.cat([alive, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    with torch.no_grad():
        assert torch.allclose(
            block(features, class_maps, more, none),
            block(features, class_maps, heatmaps, alive),
            atol=1e-6,
        )


@pytest.mark.parametrize('reweight', ['explicit', 'implicit', 'separated'])
def test_gradients_reach_maps_and_all_parameters(reweight):
    block = PISRBlock(D, reweight)
    features, class_maps, heatmaps, alive = inputs(torch.float32)
    leaves = [x.requires_grad_() for x in (features, class_maps, heatmaps)]
    block(*leaves, alive).square().sum().backward()
    assert all(x.grad.any() and x.grad.isfinite().all() for x in leaves)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


@pytest.mark.parametrize('part', ['semantic', 'instance', 'matmul', 'cosine', 'l2'])
def test_gradcheck_of_the_parts(part):
    features, class_maps, heatmaps, _ = (
        x.requires_grad_() if x.is_floating_point() else x for x in inputs()
    )
    rows = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
    function, args = {
        'semantic': (semantic_encodings, (features, class_maps)),
        'instance': (lambda f, w: instance_encodings(f, w + 0.1), (features, heatmaps)),
    }.get(part, (lambda a, b: correlate(a, b.flatten(2), part), (rows, features)))
    assert torch.autograd.gradcheck(function, args, fast_mode=True)


def test_a_batch_without_instances_trains_all_parameters():
    block = PISRBlock(D, 'separated')
    features, class_maps, heatmaps, alive = inputs(torch.float32)
    block(features, class_maps, heatmaps * 0, alive & False).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


def test_encodings_keep_their_precision_under_autocast():
    features, class_maps, heatmaps, _ = inputs(torch.float32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        semantic = semantic_encodings(features, class_maps)
        instance = instance_encodings(features, heatmaps)
    assert torch.equal(semantic, semantic_encodings(features, class_maps))
    assert torch.equal(instance, instance_encodings(features, heatmaps))
