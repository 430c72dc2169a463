# SPDX-License-Identifier: Apache-2.0
"""Loss of PISR on MaskFormer."""

import itertools
import math

import pytest
import torch
from label_maps import street
from tiny_model import LABELS

from panoptic_ros.models.parts.queries.decode import QueryMaps
from panoptic_ros.models.registry import build
from panoptic_training.losses.pisr_maskformer import (
    PISRMaskFormerLossConfig,
    mask_terms,
    segments_of,
)
from panoptic_training.losses.registry import build_loss

SMALL = {
    'backbone': 'mobilenetv2_035',
    'fpn_channels': 32,
    'mask_channels': 16,
    'num_queries': 12,
    'query_channels': 16,
    'decoder_layers': 2,
    'attention_heads': 2,
    'feedforward': 32,
    'block_channels': 24,
}


@pytest.fixture(scope='module', params=[True, False], ids=['pisr', 'base'])
def model(request):
    torch.manual_seed(0)
    return build('pisr_maskformer', LABELS, **SMALL, enabled=request.param).train()


@pytest.mark.parametrize(
    'edit',
    [
        None,
        lambda c, i: (c.fill_(0), i.zero_()),  # stuff only
        lambda c, i: (c.fill_(255), i.zero_()),  # void only
        lambda c, i: (c.fill_(2), i.zero_()),  # crowd only
    ],
    ids=['things', 'stuff', 'void', 'crowd'],
)
def test_every_parameter_gets_a_finite_gradient(model, edit):
    model.zero_grad()
    terms = build_loss('pisr_maskformer', {})(model, street(edit), 4)
    assert all(value.isfinite() for value in terms.values())
    terms['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_gamma_weights_the_first_prediction_and_its_deep_supervision(model):
    terms = []
    for gamma in (0.5, 1.0):
        torch.manual_seed(0)
        terms.append(build_loss('pisr_maskformer', {'gamma': gamma})(model, street(), 4))
    names = {'class', 'mask', 'dice'}
    first = (
        {f'initial_{n}' for n in (*names, 'auxiliary')} if model.config.enabled else {'auxiliary'}
    )
    assert set(terms[0]) == names | first | {'loss'}
    for name in names | first:
        factor = 0.5 if name.startswith('initial_') else 1.0
        assert terms[0][name].item() == pytest.approx(factor * terms[1][name].item(), rel=1e-3)
    total = sum(value.item() for name, value in terms[0].items() if name != 'loss')
    assert terms[0]['loss'].item() == pytest.approx(total, rel=1e-5)


def test_segments_are_stuff_classes_and_instances():
    data = street()
    masks, classes = segments_of(
        data.class_map, data.instance_map, torch.from_numpy(LABELS.is_thing)
    )
    for b in range(2):
        expected = {}
        for y, x in itertools.product(range(64), range(96)):
            c, i = int(data.class_map[b, y, x]), int(data.instance_map[b, y, x])
            thing = c != 255 and bool(LABELS.is_thing[c])
            if c != 255 and (not thing or i):  # no void, no crowd
                expected.setdefault((c, i if thing else 0), set()).add((y, x))
        got = [
            (c, frozenset(map(tuple, torch.nonzero(m).tolist())))
            for c, m in zip(classes[b].tolist(), masks[b], strict=True)
        ]
        assert sorted(got, key=repr) == sorted(
            ((c, frozenset(cells)) for (c, _), cells in expected.items()), key=repr
        )


def reference(logits, mask_logits, masks, classes, config):
    """Return the three terms of one image for the cheapest of all matchings."""
    queries, size = len(logits), mask_logits[0].numel()
    prob = logits.softmax(dim=1)

    def focal(q, k):
        total = 0.0
        for z, t in zip(
            mask_logits[q].flatten().tolist(), masks[k].flatten().tolist(), strict=True
        ):
            p = 1 / (1 + math.exp(-z))
            right, alpha = (p, 0.25) if t else (1 - p, 0.75)
            total -= alpha * (1 - right) ** 2 * math.log(right)
        return total / size

    def dice(q, k):
        p = mask_logits[q].sigmoid()
        return 1 - (2 * float((p * masks[k]).sum()) + 1) / (float(p.sum() + masks[k].sum()) + 1)

    def cost(match):
        return sum(
            config.mask_weight * focal(q, k)
            + config.dice_weight * dice(q, k)
            - config.class_weight * float(prob[q, classes[k]])
            for k, q in enumerate(match)
        )

    best = min(itertools.permutations(range(queries), len(masks)), key=cost)
    goal = {q: int(classes[k]) for k, q in enumerate(best)}
    total = weights = 0.0
    for q in range(queries):
        c = goal.get(q, logits.shape[1] - 1)
        w = 1.0 if q in goal else config.nothing_weight
        total, weights = total - w * math.log(float(prob[q, c])), weights + w
    return {
        'class': config.class_weight * total / weights,
        'mask': config.mask_weight * sum(focal(q, k) for k, q in enumerate(best)) / len(masks),
        'dice': config.dice_weight * sum(dice(q, k) for k, q in enumerate(best)) / len(masks),
    }


@pytest.mark.parametrize('seed', range(4))
def test_terms_are_those_of_the_cheapest_matching(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 4, 4, generator=generator)
    mask_logits = torch.randn(1, 4, 3, 5, generator=generator) * 2
    masks = [(torch.rand(3, 3, 5, generator=generator) < 0.4).float()]
    classes = [torch.randint(0, 3, (3,), generator=generator)]
    config = PISRMaskFormerLossConfig(class_weight=2.0, mask_weight=5.0, nothing_weight=0.3)
    terms = mask_terms(QueryMaps(logits, mask_logits, logits), masks, classes, config)
    expected = reference(logits[0], mask_logits[0], masks[0], classes[0], config)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name


def test_masks_are_counted_over_all_processes(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 4, generator=generator)
    mask_logits = torch.randn(1, 4, 3, 5, generator=generator)
    args = (
        QueryMaps(logits, mask_logits, logits),
        [torch.ones(2, 3, 5)],
        [torch.tensor([0, 1])],
        PISRMaskFormerLossConfig(),
    )
    alone = mask_terms(*args)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda tensor: tensor.add_(6))
    shared = mask_terms(*args)  # the other process has 6 masks: 4 on average
    for name in ('mask', 'dice'):
        assert shared[name].item() == pytest.approx(alone[name].item() * 2 / 4)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'gamma': -1.0}, r'loss.gamma must not be negative, got -1'),
        ({'dice_weight': -0.5}, r'loss.dice_weight must not be negative, got -0\.5'),
    ],
)
def test_wrong_settings_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        PISRMaskFormerLossConfig(**values)
