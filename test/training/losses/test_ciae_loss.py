# SPDX-License-Identifier: Apache-2.0
"""CIAE's embedding loss and memory against the paper's equations, pixel by pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from label_maps import VOID, labels
from torch.nn import functional as F

from panoptic_training.losses.ciae import CIAELossConfig, ciae_loss, memory_rows
from panoptic_training.losses.parts.ciae_memory import memory_loss, memory_momentum, update_memory
from panoptic_training.losses.parts.class_means import class_sums

IS_THING = torch.tensor([False, True, False, True])  # things and stuff mixed
MERGED = torch.tensor([0, 2, 1, 2])
CLASSES = torch.tensor([0, 2, 1, 3])  # row of each class in the memory: stuff first, then things
CONFIG = CIAELossConfig()


def targets():
    """Return the shared maps with the classes in another order and gaps between the ids."""
    class_map, instance_map = labels()
    mixed = torch.where(class_map == VOID, VOID, CLASSES[class_map.clamp(max=3)])
    return mixed, (2 * instance_map - 1).clamp(min=0)


def embedding(seed=1, dim=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, dim, 6, 8, generator=generator, dtype=torch.float64)
    return x.to(dtype).requires_grad_()


def memory(rows, dim=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1).to(
        dtype
    )


def semantic_logits(dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, 6, 8, generator=generator, dtype=dtype)


def cosine_distance(p, m):
    return 1 - p @ m / (np.linalg.norm(p) * np.linalg.norm(m))


def pixel_loss(d_pos, d_negs, config):
    """Return equations 7 to 9 for one pixel; `d_negs` holds a 0 for the own query (equation 6)."""
    losses = sorted(
        (
            -math.log(
                max(1 - max(d_pos - d + config.margin, 0) / (2 + config.margin), config.log_floor)
            )
            for d in d_negs
        ),
        reverse=True,
    )
    return sum(losses[: config.hardest])


def reference(p, branch, m, memory_of_class, class_map, instance_map, config):
    """Return the terms of equations 5 to 12, one pixel and one query at a time."""
    p, m = np.moveaxis(p.detach().numpy(), 1, -1), m.numpy()
    ids, instances = class_map.numpy(), instance_map.numpy()
    thing, row = IS_THING.numpy(), memory_of_class.numpy()
    labelled = [i for i in np.ndindex(ids.shape) if ids[i] != VOID]
    num_stuff = int((~thing).sum())
    terms = {'cae': 0.0, 'iae': 0.0}

    if branch is None:
        for i in labelled:
            own = row[ids[i]]
            d_pos = cosine_distance(p[i], m[own])
            d_negs = [0 if k == own else cosine_distance(p[i], m[k]) for k in range(len(m))]
            terms['cae'] += config.cae_weight * pixel_loss(d_pos, d_negs, config) / len(labelled)

    for b in range(len(ids)):
        here = sorted({int(instances[i]) for i in labelled if i[0] == b} - {0})
        masks = {k: [i for i in labelled if i[0] == b and instances[i] == k] for k in here}
        means = {k: sum(p[i] for i in mask) for k, mask in masks.items()}  # equation 4
        boxes = {}
        for k, mask in masks.items():
            (y1, y2), (x1, x2) = (
                (min(v), max(v) + 1) for v in ([i[1] for i in mask], [i[2] for i in mask])
            )
            boxes[k] = (
                (y1 + y2) / 2,
                (x1 + x2) / 2,
                (y2 - y1) / 2 * config.box_scale,
                (x2 - x1) / 2 * config.box_scale,
            )

        def filtered(i, k, boxes=boxes):
            """Return whether the pixel lies outside the enlarged box."""
            cy, cx, half_y, half_x = boxes[k]
            return config.box_scale > 0 and (
                abs(i[1] + 0.5 - cy) > half_y or abs(i[2] + 0.5 - cx) > half_x
            )

        for i in labelled:
            if i[0] != b or (thing[ids[i]] and not instances[i]):
                continue
            if branch is not None and not thing[ids[i]]:
                continue
            own = instances[i] or f'stuff {row[ids[i]]}'
            distance = (
                {}
                if branch is not None
                else {f'stuff {k}': cosine_distance(p[i], m[k]) for k in range(num_stuff)}
            )
            distance |= {
                k: 1 if filtered(i, k) else cosine_distance(p[i], mean)
                for k, mean in means.items()
            }
            d_negs = [0 if k == own else d for k, d in distance.items()]
            loss = pixel_loss(distance[own], d_negs, config)
            terms['iae'] += loss * (config.thing_weight if instances[i] else 1)
    terms['iae'] *= config.iae_weight / max(len(labelled), 1)
    if branch is not None:
        logits = np.moveaxis(branch.numpy(), 1, -1)
        goal = {i: num_stuff if thing[ids[i]] else row[ids[i]] for i in labelled}
        terms['semantic'] = np.mean(
            [np.log(np.exp(logits[i]).sum()) - logits[i][goal[i]] for i in labelled]
        )
    return terms


@pytest.mark.parametrize(
    ('config', 'memory_of_class', 'branch', 'why'),
    [
        (CONFIG, MERGED, False, "the paper's default"),
        (CONFIG, CLASSES, False, 'a memory for each thing class'),
        (replace(CONFIG, hardest=2), CLASSES, False, 'only the hardest other query counts'),
        (replace(CONFIG, hardest=1), MERGED, False, 'only the own query counts'),
        (replace(CONFIG, box_scale=0.0), MERGED, False, 'no filter'),
        (replace(CONFIG, box_scale=1.0), MERGED, False, 'boxes as they are'),
        (replace(CONFIG, margin=0.0), MERGED, False, 'no margin'),
        (replace(CONFIG, margin=0.5, log_floor=0.3), MERGED, False, 'the logarithm is cut'),
        (
            replace(CONFIG, cae_weight=0.0, iae_weight=3.0, thing_weight=1.0),
            MERGED,
            False,
            'weights',
        ),
        (CONFIG, MERGED, True, 'stuff has a branch of its own'),
        (CONFIG, CLASSES, True, 'so it has, with memories that nobody asks'),
    ],
)
def test_terms_equal_the_slow_reference(config, memory_of_class, branch, why):
    p, m = embedding(), memory(int(memory_of_class.max()) + 1)
    logits = semantic_logits() if branch else None
    terms = ciae_loss(p, logits, m, memory_of_class, *targets(), IS_THING, config)
    expected = reference(p, logits, m, memory_of_class, *targets(), config)
    assert set(terms) == set(expected)
    for name, value in terms.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-9, abs=1e-12), (name, why)


@pytest.mark.parametrize(
    ('config', 'branch'),
    [(CONFIG, False), (replace(CONFIG, hardest=2, box_scale=0.0), False), (CONFIG, True)],
)
def test_gradcheck(config, branch):
    logits = semantic_logits() if branch else None
    m = memory(3)

    def loss(p):
        return sum(ciae_loss(p, logits, m, MERGED, *targets(), IS_THING, config).values())

    assert torch.autograd.gradcheck(loss, embedding(dim=5), fast_mode=True)


def test_gradcheck_of_the_pixel_loss():
    generator = torch.Generator().manual_seed(0)
    likeness = torch.rand(12, 6, generator=generator, dtype=torch.float64) * 2 - 1
    own = torch.arange(12) % 6
    assert torch.autograd.gradcheck(
        lambda x: memory_loss(x, own, 0.15, 3), likeness.requires_grad_()
    )


@pytest.mark.parametrize(
    ('similarity', 'expected', 'why'),
    [
        (
            [[1.0]],
            -math.log(1 - 0.15 / 2.15),
            'one query, and the pixel on it: the margin is left',
        ),
        ([[1.0, -1.0]], -math.log(1 - 0.15 / 2.15), 'the other one is far away'),
        ([[-1.0, 1.0]], -2 * math.log(1e-6), 'as wrong as can be: both losses are cut'),
    ],
)
def test_pixel_loss_by_hand(similarity, expected, why):
    loss = memory_loss(torch.tensor(similarity), torch.tensor([0]), 0.15, 5)
    assert loss.item() == pytest.approx(expected, rel=1e-5), why


@pytest.mark.parametrize(
    ('edit', 'zero'),
    [
        (lambda c, i: (c.fill_(VOID), i), ('cae', 'iae')),  # void only
        (lambda c, i: (c.fill_(VOID), i.fill_(1)), ('cae', 'iae')),  # ids under void do not count
        (lambda c, i: (c.fill_(1), i.zero_()), ('iae',)),  # crowd only
        (lambda c, i: (c.fill_(0), i.zero_()), ()),  # stuff only
        (lambda c, i: (c.fill_(1), i.fill_(1)), ()),  # one instance in each image
    ],
)
@pytest.mark.parametrize('branch', [False, True])
def test_ignored_pixels_have_no_cost_and_no_gradient(edit, zero, branch):
    p = embedding()
    logits = semantic_logits().requires_grad_() if branch else None
    terms = ciae_loss(p, logits, memory(3), MERGED, *edit(*targets()), IS_THING, CONFIG)
    for name in zero:
        assert terms[name].item() == 0, name
        (grad,) = torch.autograd.grad(terms[name], p, retain_graph=True)
        assert not grad.any(), name
    sum(terms.values()).backward()
    assert p.grad.isfinite().all()
    assert logits is None or logits.grad.isfinite().all()


def test_the_box_filter_excludes_far_pixels():
    class_map = torch.zeros(1, 4, 40, dtype=torch.int64)
    instance_map = torch.zeros_like(class_map)
    class_map[:, :, 10:18], instance_map[:, :, 10:18] = 1, 1  # 1.5 boxes: columns 8 to 20
    m = F.normalize(torch.randn(1, 5), dim=1) * torch.tensor([[1.0], [-1.0], [-1.0]])

    def at(column, **change):
        """Return the loss if one stuff pixel has the embedding of the instance."""
        p = m[0][None, :, None, None].repeat(1, 1, 4, 40)
        p[..., 10:18] = torch.eye(5)[0][:, None, None]
        p[..., 0, column] = torch.eye(5)[0]
        return ciae_loss(
            p, None, m, MERGED, class_map, instance_map, IS_THING, replace(CONFIG, **change)
        )['iae'].item()

    assert at(9) > at(30)  # inside and outside
    assert at(9, box_scale=0) == pytest.approx(at(30, box_scale=0))  # no filter, no difference


def test_memory_gets_no_gradient_and_the_means_do():
    m = memory(3).requires_grad_()
    p = embedding()
    terms = ciae_loss(p, None, m, MERGED, *targets(), IS_THING, CONFIG)
    (terms['cae'] + terms['iae']).backward()
    assert m.grad is None
    assert p.grad.abs().max() > 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    p, m = embedding(dtype=dtype), memory(3, dtype=torch.float32)
    exact = ciae_loss(p.float(), None, m, MERGED, *targets(), IS_THING, CONFIG)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = ciae_loss(p, None, m, MERGED, *targets(), IS_THING, CONFIG)
    assert all(value.dtype == torch.float32 for value in terms.values())
    assert all(torch.equal(value, exact[name]) for name, value in terms.items())


@pytest.mark.parametrize(
    ('position', 'wrong', 'match'),
    [
        (0, torch.zeros(2, 6, 8), r'embedding \(B, D, h, w\).*got \(2, 6, 8\)'),
        (1, torch.zeros(2, 4, 6, 8), r'semantic_logits \(2, 3, 6, 8\).*got \(2, 4, 6, 8\)'),
        (2, torch.zeros(3, 4), r'memory \(M, D\).*got .*\(3, 4\)'),
        (4, torch.zeros(2, 6, 9).long(), r'class_map \(2, 6, 8\).*got \(2, 6, 9\)'),
        (5, torch.zeros(6, 8).long(), r'instance_map \(2, 6, 8\).*got \(6, 8\)'),
        (6, torch.zeros(5).bool(), r'is_thing \(4,\).*got \(5,\)'),
    ],
)
def test_wrong_shapes_are_refused(position, wrong, match):
    args = [embedding(), None, memory(3), MERGED, *targets(), IS_THING]
    args[position] = wrong
    with pytest.raises(ValueError, match=match):
        ciae_loss(*args, CONFIG)


def test_pixel_loss_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r'similarity \(N, Q\).*\(3, 2\), \(2,\)'):
        memory_loss(torch.zeros(3, 2), torch.zeros(2).long(), 0.15, 5)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'margin': -0.1}, 'loss.margin must lie in 0 to below 2, got -0.1'),
        ({'hardest': 0}, 'loss.hardest must be at least 1, got 0'),
        ({'log_floor': 0.0}, 'loss.log_floor must lie between 0 and 1, got 0'),
        ({'cae_weight': -1.0}, 'loss.cae_weight must not be negative, got -1'),
        ({'box_scale': -1.0}, 'loss.box_scale must not be negative, got -1'),
        ({'memory_momentum': 1.5}, 'loss.memory_momentum must lie in 0 to 1, got 1.5'),
        ({'level_limits': (64.0, 32.0, 128.0, 256.0)}, 'level_limits must be four rising numbers'),
    ],
)
def test_invalid_settings_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        CIAELossConfig(**values)


@pytest.mark.parametrize(
    ('progress', 'start', 'expected'),
    [
        (0.0, 0.9999, 0.9999),
        (1.0, 0.9999, 1.0),
        (0.5, 0.9999, 1 - 1e-4 / 8),
        (0.0, 0.0, 0.0),
        (0.5, 0.0, 0.875),
    ],
)
def test_momentum_rises_to_one(progress, start, expected):
    assert memory_momentum(progress, start) == pytest.approx(expected, abs=1e-12)
    assert memory_momentum(torch.tensor(progress), start).item() == pytest.approx(expected)


def test_memory_moves_towards_the_mean_direction_of_the_classes_present():
    class_map, _ = targets()
    class_map[class_map == 2] = VOID  # that class is absent
    p, m = embedding().detach(), memory(3)
    rows = memory_rows(class_map, MERGED)
    new = m.clone()
    update_memory(new, *class_sums(p, rows, 3), momentum=0.7)
    for k, classes in enumerate(((0,), (2,), (1, 3))):
        pixels = [
            p[b, :, y, x]
            for b, y, x in np.ndindex(*class_map.shape)
            if int(class_map[b, y, x]) in classes
        ]
        if pixels:
            mean = F.normalize(sum(pixels), dim=0)  # equation 3: un-normalised embeddings
            expected = F.normalize(0.7 * m[k] + 0.3 * mean, dim=0)  # equation 14
        else:
            expected = m[k]
        torch.testing.assert_close(new[k], expected)


def test_a_thing_in_two_images_of_a_clip_learns_one_query():
    classes, ids = (x[:1].expand(2, -1, -1).clone() for x in targets())
    p = embedding().detach()
    twice = p[:1].expand(2, -1, -1, -1).clone()

    def iae(values, clip_images):
        config = replace(CONFIG, clip_images=clip_images)
        return ciae_loss(values, None, memory(3), MERGED, classes, ids, IS_THING, config)[
            'iae'
        ].item()

    # Two equal images change nothing; with different embeddings the query differs from both.
    assert iae(twice, 2) == pytest.approx(iae(twice, 1), rel=1e-9)
    assert iae(p, 2) > iae(p, 1) + 1e-3
