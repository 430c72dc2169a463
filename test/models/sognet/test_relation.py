# SPDX-License-Identifier: Apache-2.0
"""Relations, resolving and panoptic heads against the equations, pair by pair."""

import math

import pytest
import torch

from panoptic_ros.models.sognet.config import FEATURES
from panoptic_ros.models.sognet.relation import (
    RelationModule,
    geometry,
    instance_logits,
    instance_semantics,
    resolve,
    resolve_pairwise,
    significant_overlap,
    void_logits,
)


def instances(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 20
    box = torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * 20], dim=1)
    return (
        box,
        torch.randint(0, 3, (count,), generator=generator),
        torch.rand(count, 4, 4, generator=generator),
    )


def slow_relation(module, box, thing, mask, features):
    count = len(box)
    potential = torch.zeros(count, count)
    for i in range(count):
        for j in range(count):
            parts = []
            if 'mask' in features:
                v, u, p = (
                    module.mask_subject.weight,
                    module.mask_object.weight,
                    module.mask_pair.weight,
                )
                pair = (v @ mask[i].flatten()).relu() * (u @ mask[j].flatten()).relu()
                parts.append(p @ pair)
            if 'category' in features:  # one-hot vectors pick columns
                parts.append(
                    module.category_subject.weight[:, thing[i]].relu()
                    * module.category_object.weight[:, thing[j]].relu()
                )
            if 'box' in features:
                (x1, y1, x2, y2), (u1, v1, u2, v2) = box[i].tolist(), box[j].tolist()
                place = torch.tensor(
                    [
                        ((x1 + x2) - (u1 + u2)) / 2 / (u2 - u1),
                        ((y1 + y2) - (v1 + v2)) / 2 / (v2 - v1),
                        math.log((x2 - x1) / (u2 - u1)),
                        math.log((y2 - y1) / (v2 - v1)),
                    ]
                )
                place = module.box.weight @ place
                parts.append(place.relu() if module.box_relu else place)
            potential[i, j] = (module.potential.weight[0] @ torch.cat(parts)).sigmoid()
    potential = potential.detach()
    return torch.tensor(
        [
            [max(0.0, float(potential[i, j] - potential[j, i])) for j in range(count)]
            for i in range(count)
        ]
    ).view(count, count)


@pytest.mark.parametrize('features', [('box',), ('category',), ('box', 'category'), FEATURES])
@pytest.mark.parametrize('count', [1, 2, 5])
@pytest.mark.parametrize('box_relu', [False, True])
def test_relation_equals_the_equations(count, features, box_relu):
    torch.manual_seed(count)
    module = RelationModule(features, 3, 16, 5, 6, 7, box_relu)
    box, thing, mask = instances(count)
    with torch.no_grad():
        relation = module(box, thing, mask)
    torch.testing.assert_close(relation, slow_relation(module, box, thing, mask, features))
    assert (torch.minimum(relation, relation.T) == 0).all(), 'one way only'
    assert not any(
        key.startswith(name)
        for key in module.state_dict()
        for name in set(FEATURES) - set(features)
    )


@pytest.mark.parametrize('features', [('box',), ('category',), FEATURES])
def test_relation_gradcheck(features):
    torch.manual_seed(0)
    module = RelationModule(features, 3, 16, 5, 6, 7).double()
    box, thing, mask = instances(4)
    names = [name for name, _ in module.named_parameters()]

    def relation(box, mask, *values):
        return torch.func.functional_call(
            module, dict(zip(names, values, strict=True)), (box, thing, mask)
        )

    inputs = [x.double().detach().requires_grad_() for x in (box, mask, *module.parameters())]
    assert relation(*inputs).sum() > 0
    assert torch.autograd.gradcheck(relation, inputs)


@pytest.mark.parametrize('way', [resolve, resolve_pairwise])
def test_resolving_gradcheck(way):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    relation = torch.rand(3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(way, [logits, relation])


def test_no_instance_has_no_relation():
    module = RelationModule(FEATURES, 3, 16, 5, 6, 7)
    assert module(*instances(0)).shape == (0, 0)


def test_geometry_does_not_depend_on_place_and_scale():
    box, _, _ = instances(4)
    torch.testing.assert_close(geometry(box * 3 + 7), geometry(box), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('seed', range(3))
def test_resolving_equals_equation_7(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 3, 5, generator=generator) * 3
    relation = torch.rand(4, 4, generator=generator)
    expected, prob = logits.clone(), logits.sigmoid()
    for i in range(4):
        for j in range(4):
            expected[i] -= logits[i] * prob[i] * prob[j] * relation[i, j]
    torch.testing.assert_close(resolve(logits, relation), expected)
    one = logits.clone()
    relation.fill_diagonal_(0)
    for j in range(4):
        for i in range(4):
            one[i] = one[i] - one[i] * one[i].sigmoid() * one[j].sigmoid() * relation[i, j]
    torch.testing.assert_close(resolve_pairwise(logits, relation), one)


def test_resolving_takes_the_overlap_from_the_covered_one():
    logits = torch.full((2, 1, 3), -9.0)
    logits[0, 0, :2] = logits[1, 0, 1:] = 9.0  # they share the cell in the middle
    relation = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # 0 is covered by 1
    for way in (resolve, resolve_pairwise):
        out = way(logits, relation)
        assert out[0, 0, 1].abs() < 0.1 and out[0, 0, 0] > 8.9
        assert torch.equal(out[1], logits[1])


def test_panoptic_heads_equal_equations_9_and_10():
    torch.manual_seed(0)
    semantic = torch.randn(4, 2, 3)
    within = torch.rand(2, 2, 3) < 0.5
    x = instance_semantics(semantic, torch.tensor([3, 2]), within)
    resolved = torch.randn(2, 2, 3)
    for i, class_id in enumerate((3, 2)):
        for row in range(2):
            for column in range(3):
                value = float(semantic[class_id, row, column]) if within[i, row, column] else 0
                a = float(resolved[i, row, column])
                assert x[i, row, column] == value
                first = instance_logits(x, resolved, 1, 2.0)[i, row, column]
                second = instance_logits(x, resolved, 2, 2.0)[i, row, column]
                assert first.item() == pytest.approx(value + a, rel=1e-5)
                assert second.item() == pytest.approx(2 * value / (1 + math.exp(-a)) + a, rel=1e-5)
    things = torch.tensor([2, 3])
    void = void_logits(semantic, things, x)
    torch.testing.assert_close(void[0], semantic[2:].amax(0) - x.amax(0))
    torch.testing.assert_close(void_logits(semantic, things, x[:0])[0], semantic[2:].amax(0))


@pytest.mark.parametrize(
    ('shared', 'least', 'expected'),
    [
        (1, 0.25, True),  # 1 of the smaller one's 4 cells
        (1, 0.26, False),
        (0, 0.1, False),
    ],
)
def test_overlap_is_counted_by_the_smaller(shared, least, expected):
    mask = torch.zeros(3, 20)
    mask[0, :10] = 1
    mask[1, 10 - shared : 14 - shared] = 1  # 4 cells; row 2 is empty
    pairs = significant_overlap(mask, least)
    assert pairs[0, 1] == pairs[1, 0] == expected
    assert pairs.sum() == 2 * expected
