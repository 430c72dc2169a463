# SPDX-License-Identifier: Apache-2.0
"""HLE's loss against the paper's equations, pixel by pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from label_maps import IS_THING, VOID, labels
from torch.nn import functional as F

from panoptic_training.losses.hle import HLELossConfig, hle_loss
from panoptic_training.losses.parts.lovasz import lovasz_binary

CELL = 4 / 1024
TERMS = ('seg', 'segmean', 'ins', 'insvar', 'seed')
EXACT = HLELossConfig(min_error=1e-12)


def arguments(split=False, branch=False, spatial_map=False, dtype=torch.float64, dim=6):
    """Make the first seven arguments of hle_loss, leaves that need gradients."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def unit(x):
        parts = x.chunk(2, dim=1) if split and x.ndim == 4 else (x,)
        return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)

    values = [
        unit(normal(2, dim, 6, 8)),
        normal(2, 6, 8) * 0.3,
        normal(2, 6, 8),
        normal(2, 4, 6, 8) if branch else None,
        math.log(0.01) + 0.2 * (normal(2, 6, 8) if spatial_map else normal(1)[0]),
        unit(normal(4, dim // 2 if split else dim)),
        normal(4) * 0.3 - 1,
    ]
    return [v if v is None else v.to(dtype).requires_grad_() for v in values]


def lovasz(prob, target):
    return lovasz_binary(torch.tensor(prob), torch.tensor(target), 0.0).item()


def reference(args, class_map, instance_map, config):
    """Compute equation 16 pixel by pixel in NumPy; the Lovász loss has its own tests."""
    e, log_sigma, seed, branch, spatial, mu, log_sigma_k = (
        None if x is None else x.detach().double().numpy() for x in args
    )
    ids, instances, thing = class_map.numpy(), instance_map.numpy(), IS_THING.numpy()
    width = mu.shape[1]
    e_class, e_instance = np.moveaxis(e[:, :width], 1, -1), np.moveaxis(e[:, -width:], 1, -1)
    pixels = [p for p in np.ndindex(ids.shape) if ids[p] != VOID]
    seen = sorted({ids[p] for p in pixels})
    terms = dict.fromkeys(TERMS, 0.0)

    psi = {}
    for p in pixels:
        score = np.array(
            [
                math.exp(-(1 - e_class[p] @ mu[k]) / (2 * math.exp(log_sigma_k[k]) ** 2))
                for k in range(len(mu))
            ]
        )
        psi[p] = score / score.sum()
    if branch is not None:
        logits = np.moveaxis(branch, 1, -1)
        terms['seg'] = np.mean(
            [np.log(np.exp(logits[p]).sum()) - logits[p][ids[p]] for p in pixels]
        )
    elif config.loss in ('lovasz', 'ae'):  # with AE for the deviations
        terms['seg'] = np.mean(
            [
                lovasz(
                    np.array([psi[p][k] for p in pixels]), np.array([ids[p] == k for p in pixels])
                )
                for k in (seen if config.lovasz_classes == 'present' else range(len(mu)))
            ]
        )
    elif config.loss == 'ce':
        terms['seg'] = np.mean([-math.log(psi[p][ids[p]]) for p in pixels])
    batch_mean = {k: np.mean([e_class[p] for p in pixels if ids[p] == k], axis=0) for k in seen}
    if config.loss == 'ae' and branch is None:
        terms['seg'] += associative(
            {k: [e_class[p] for p in pixels if ids[p] == k] for k in seen},
            dict(enumerate(mu)),
            batch_mean if config.vq_means else dict(enumerate(mu)),
            *config.ae_class_margins,
        )
    if config.vq_means and branch is None:
        terms['segmean'] = np.mean([((mu[k] - batch_mean[k]) ** 2).sum() for k in seen])

    own, variance = {}, {}
    for b in range(len(ids)):
        here = [p for p in pixels if p[0] == b]
        counted = [p for p in here if instances[p] or not thing[ids[p]]]
        losses, groups, means = [], {}, {}
        for i in sorted({instances[p] for p in here} - {0}):
            mask = [p for p in here if instances[p] == i]
            groups[i] = [e_instance[p] for p in mask]
            means[i] = np.mean(groups[i], axis=0)
            unit = config.instance_means == 'unit'
            mean = means[i] / np.linalg.norm(means[i]) if unit else means[i]
            sigma = np.mean([math.exp(log_sigma[p]) for p in mask])
            sigma_sp = (
                math.exp(spatial)
                if spatial.ndim == 0
                else np.mean([math.exp(spatial[p]) for p in mask])
            )
            rho = np.mean([p[1:] for p in mask], axis=0)
            phi = {
                p: math.exp(
                    -(1 - e_instance[p] @ mean) / (2 * sigma**2)
                    - ((p[1:] - rho) ** 2).sum() * CELL**2 / (2 * sigma_sp**2)
                )
                for p in counted
            }
            target = np.array([p in mask for p in counted])
            prob = np.array([phi[p] for p in counted])
            if config.loss != 'ce':
                losses.append(lovasz(prob, target))
            else:
                losses.append(
                    np.mean(
                        [-math.log(x if t else 1 - x) for x, t in zip(prob, target, strict=True)]
                    )
                )
            own |= {p: phi[p] for p in mask}
            value = (
                (lambda p: math.exp(log_sigma[p]))
                if config.variance_of == 'sigma'
                else (lambda p: log_sigma[p])
            )
            average = np.mean([value(p) for p in mask])
            variance |= {p: (value(p) - average) ** 2 for p in mask}
        if losses:
            terms['ins'] += np.mean(losses) / len(ids)
        if config.loss == 'ae':
            margins = config.ae_instance_margins
            terms['ins'] += associative(groups, means, means, *margins) / len(ids)
    terms['insvar'] = config.variance_weight * np.mean(list(variance.values()))
    terms['seed'] = np.mean(
        [
            (config.seed_thing_weight if instances[p] else 1)
            * (1 / (1 + math.exp(-seed[p])) - own.get(p, 0)) ** 2
            for p in pixels
            if instances[p] or not thing[ids[p]]
        ]
    )
    terms['loss'] = sum(terms.values())
    return terms


def associative(groups, mean, pushed, pull_margin, push_margin):
    if not groups:
        return 0
    pull = np.mean(
        [
            np.mean([max(np.abs(mean[k] - x).sum() - pull_margin, 0) ** 2 for x in members])
            for k, members in groups.items()
        ]
    )
    push = [
        max(push_margin - np.abs(pushed[i] - pushed[k]).sum(), 0) ** 2
        for i in groups
        for k in groups
        if i != k
    ]
    return pull + (np.mean(push) if push else 0)


@pytest.mark.parametrize(
    ('config', 'inputs'),
    [
        (EXACT, {}),
        (replace(EXACT, loss='ce'), {}),
        (replace(EXACT, loss='ae'), {}),
        (replace(EXACT, loss='ae', vq_means=False, ae_class_margins=(0.5, 4.0)), {}),
        (replace(EXACT, vq_means=False), {}),
        (replace(EXACT, lovasz_classes='present'), {}),
        (replace(EXACT, instance_means='unit'), {}),
        (replace(EXACT, variance_of='log_sigma', variance_weight=2.0), {}),
        (replace(EXACT, seed_thing_weight=10.0), {}),
        (EXACT, {'split': True}),
        (EXACT, {'branch': True}),
        (EXACT, {'spatial_map': True}),
        (EXACT, {'dim': 128}),  # the paper's D on COCO
    ],
)
def test_every_term_equals_the_slow_reference(config, inputs):
    args = arguments(**inputs)
    class_map, instance_map = labels()
    terms = hle_loss(*args, class_map, instance_map, IS_THING, CELL, config)
    expected = reference(args, class_map, instance_map, config)
    assert set(terms) == set(expected)
    for name, value in terms.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize(
    ('change', 'term'),
    [
        ('log_sigma', 'ins'),
        ('log_sigma', 'insvar'),
        ('seed_logits', 'seed'),
        ('spatial_log_sigma', 'ins'),
        ('semantic_log_sigma', 'seg'),
        ('semantic_mean', 'segmean'),
        ('embedding', 'seg'),
        ('embedding', 'ins'),
    ],
)
def test_the_term_has_a_gradient_for_the_output(change, term):
    names = (
        'embedding',
        'log_sigma',
        'seed_logits',
        'semantic_logits',
        'spatial_log_sigma',
        'semantic_mean',
        'semantic_log_sigma',
    )
    args = arguments()
    hle_loss(*args, *labels(), IS_THING, CELL, EXACT)[term].backward()
    assert args[names.index(change)].grad.abs().max() > 0


@pytest.mark.parametrize(
    ('vq_means', 'term', 'taught'),
    [
        (True, 'seg', False),  # class means get their gradient from L_segmean only
        (True, 'segmean', True),
        (False, 'seg', True),  # without VQ they learn by backpropagation
        (False, 'segmean', False),
    ],
)
def test_class_means_learn_from_one_term(vq_means, term, taught):
    args = arguments()
    terms = hle_loss(*args, *labels(), IS_THING, CELL, replace(EXACT, vq_means=vq_means))
    terms[term].backward()
    assert bool(args[5].grad is not None and args[5].grad.any()) == taught


@pytest.mark.parametrize(
    ('term', 'deviation'),
    [('seg', 'semantic_log_sigma'), ('ins', 'log_sigma'), ('ins', 'spatial')],
)
def test_associative_embedding_trains_the_deviations_too(term, deviation):
    args = arguments()
    terms = hle_loss(*args, *labels(), IS_THING, CELL, replace(EXACT, loss='ae'))
    terms[term].backward()
    place = {'log_sigma': 1, 'spatial': 4, 'semantic_log_sigma': 6}[deviation]
    assert args[place].grad.abs().max() > 0


@pytest.mark.parametrize('vq_means', [True, False])
def test_deviations_of_associative_embedding_teach_nothing_else(vq_means):
    config = replace(EXACT, loss='ae', vq_means=vq_means)

    def gradients(shift):
        args = arguments()
        with torch.no_grad():  # other deviations change the Lovász losses only
            args[1] += shift
            args[4] += shift
            args[6] += shift
        terms = hle_loss(*args, *labels(), IS_THING, CELL, config)
        (terms['seg'] + terms['ins']).backward()
        return args[0].grad, args[5].grad

    for one, other in zip(gradients(0.0), gradients(0.7), strict=True):
        assert torch.equal(one, other)
    assert gradients(0.0)[0].any() and bool(gradients(0.0)[1].any()) == (not vq_means)


@pytest.mark.parametrize('term', ['segmean', 'seed', 'insvar'])
def test_stopped_gradients_do_not_reach_the_embedding(term):
    args = arguments()
    hle_loss(*args, *labels(), IS_THING, CELL, EXACT)[term].backward()
    assert args[0].grad is None or not args[0].grad.any()


@pytest.mark.parametrize(
    ('config', 'inputs'),
    [
        ({'loss': 'lovasz'}, {}),
        ({'loss': 'lovasz'}, {'spatial_map': True}),
        ({'loss': 'lovasz'}, {'split': True}),
        ({'loss': 'ce'}, {}),
        ({'instance_means': 'unit'}, {}),
    ],
)
def test_gradcheck(config, inputs):
    # Finite differences do not know stopped gradients: no VQ, no L_insvar, no L_seed.
    config = replace(EXACT, vq_means=False, **config)
    args = arguments(dim=4, **inputs)
    leaves = [x for x in args if x is not None]

    def loss(*values):
        terms = hle_loss(*values[:3], None, *values[3:], *labels(), IS_THING, CELL, config)
        return terms['seg'] + terms['ins']

    assert torch.autograd.gradcheck(loss, leaves, fast_mode=True)


@pytest.mark.parametrize('loss', ['lovasz', 'ce', 'ae'])
@pytest.mark.parametrize(
    ('edit', 'zero'),
    [
        (lambda c, i: (c.fill_(VOID), i), TERMS),  # void only
        (lambda c, i: (c.fill_(VOID), i.fill_(1)), TERMS),  # ids under void do not count
        (lambda c, i: (c.fill_(0), i.zero_()), ('ins', 'insvar')),  # stuff only
        (lambda c, i: (c.fill_(2), i.zero_()), ('ins', 'insvar', 'seed')),  # crowd only
    ],
)
def test_ignored_pixels_have_no_cost_and_no_gradient(loss, edit, zero):
    args = arguments()
    terms = hle_loss(*args, *edit(*labels()), IS_THING, CELL, replace(EXACT, loss=loss))
    for name in zero:
        assert terms[name].item() == 0, name
        grads = torch.autograd.grad(
            terms[name], [x for x in args if x is not None], retain_graph=True, allow_unused=True
        )
        assert all(g is None or not g.any() for g in grads), name
    terms['loss'].backward()
    assert all(x.grad.isfinite().all() for x in args if x is not None)


@pytest.mark.parametrize('inputs', [{}, {'branch': True}, {'split': True}])
@pytest.mark.parametrize('loss', ['lovasz', 'ce', 'ae'])
def test_every_input_gets_a_gradient_with_terms_switched_off(loss, inputs):
    # DDP waits for a gradient of every parameter.
    args = arguments(**inputs)
    hle_loss(*args, *labels(), IS_THING, CELL, replace(EXACT, loss=loss))['loss'].backward()
    assert all(x.grad is not None for x in args if x is not None)


@pytest.mark.parametrize('loss', ['lovasz', 'ce', 'ae'])
@pytest.mark.parametrize('spatial', [-50.0, 50.0])
@pytest.mark.parametrize('sigma', [-50.0, 0.0, 50.0])
def test_extreme_deviations_stay_finite(sigma, spatial, loss):
    args = [None if x is None else x.detach() for x in arguments(dtype=torch.float32)]
    args[1], args[4], args[6] = args[1] * 0 + sigma, args[4] * 0 + spatial, args[6] * 0 + sigma
    args = [x if x is None else x.requires_grad_() for x in args]
    terms = hle_loss(*args, *labels(), IS_THING, CELL, HLELossConfig(loss=loss))
    terms['loss'].backward()
    assert all(value.isfinite() for value in terms.values())
    assert all(x.grad.isfinite().all() for x in args if x is not None)


def test_perfect_maps_cost_next_to_nothing():
    class_map, instance_map = labels()
    class_map[class_map == VOID] = 0
    class_map[0, 0:2, 6:] = 0  # no crowd
    code = torch.where(instance_map > 0, 4 + instance_map, class_map)
    embedding = torch.eye(16)[code].movedim(-1, 1)
    # An instance's embedding is its class's in the first half of a split space.
    embedding = torch.cat([torch.eye(16)[class_map].movedim(-1, 1), embedding], dim=1)
    own = torch.where(instance_map > 0, 20.0, -20.0)
    terms = hle_loss(
        embedding,
        torch.full(own.shape, -3.0),
        own,
        None,
        torch.tensor(3.0),
        torch.eye(16)[:4],
        torch.full((4,), -3.0),
        class_map,
        instance_map,
        IS_THING,
        CELL,
        HLELossConfig(),
    )
    assert terms['loss'].item() < 1e-4


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    args = [None if x is None else x.detach().to(dtype) for x in arguments()]
    exact = hle_loss(
        *(None if x is None else x.float() for x in args),
        *labels(),
        IS_THING,
        CELL,
        HLELossConfig(),
    )
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = hle_loss(*args, *labels(), IS_THING, CELL, HLELossConfig())
    assert all(value.dtype == torch.float32 for value in terms.values())
    assert all(torch.equal(value, exact[name]) for name, value in terms.items())


def test_cutting_the_window_changes_little():
    args = arguments()
    args[4] = torch.tensor(math.log(CELL), dtype=torch.float64)  # a window of a few cells
    full = hle_loss(*args, *labels(), IS_THING, CELL, EXACT)
    cut = hle_loss(*args, *labels(), IS_THING, CELL, HLELossConfig())
    for name, value in cut.items():
        assert value.item() == pytest.approx(full[name].item(), rel=1e-5), name


@pytest.mark.parametrize(
    ('position', 'wrong', 'match'),
    [
        (0, torch.zeros(2, 6, 8), r'embedding \(B, D, h, w\).*got \(2, 6, 8\)'),
        (1, torch.zeros(2, 1, 6, 8), r'log_sigma \(2, 6, 8\).*got \(2, 1, 6, 8\)'),
        (2, torch.zeros(1, 6, 8), r'seed_logits \(2, 6, 8\).*got \(1, 6, 8\)'),
        (3, torch.zeros(2, 3, 6, 8), r'semantic_logits \(2, 4, 6, 8\).*got \(2, 3, 6, 8\)'),
        (4, torch.zeros(2), r'spatial_log_sigma \(\) or \(2, 6, 8\).*got \(2,\)'),
        (5, torch.zeros(4, 5), r'semantic_mean \(C, 6\), or \(C, 3\).*got \(4, 5\)'),
        (6, torch.zeros(3), r'semantic_log_sigma \(4,\).*got \(3,\)'),
        (7, torch.zeros(2, 6, 9).long(), r'class_map \(2, 6, 8\).*got \(2, 6, 9\)'),
        (8, torch.zeros(6, 8).long(), r'instance_map \(2, 6, 8\).*got \(6, 8\)'),
        (9, torch.zeros(5).bool(), r'is_thing \(4,\).*got \(5,\)'),
    ],
)
def test_wrong_shapes_are_refused(position, wrong, match):
    args = [*arguments(), *labels(), IS_THING]
    args[position] = wrong
    with pytest.raises(ValueError, match=match):
        hle_loss(*args, CELL, HLELossConfig())


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'loss': 'dice'}, r"loss.loss must be one of \('lovasz', 'ae', 'ce'\), got 'dice'"),
        ({'variance_of': 'raw'}, r"loss.variance_of must be one of \('sigma', 'log_sigma'\)"),
        ({'lovasz_classes': 'some'}, r"loss.lovasz_classes must be one of \('all', 'present'\)"),
        ({'variance_weight': -1.0}, 'loss.variance_weight must not be negative, got -1'),
        ({'min_error': 0.0}, 'loss.min_error must lie between 0 and 1, got 0'),
    ],
)
def test_config_refuses_what_makes_no_sense(values, match):
    with pytest.raises(ValueError, match=match):
        HLELossConfig(**values)


def test_a_thing_in_two_images_of_a_clip_learns_one_embedding():
    classes, ids = (x[:1].expand(2, -1, -1).clone() for x in labels())
    args = arguments()
    twice = [
        x
        if x is None or x.ndim < 3 or len(x) != 2
        else x.detach()[:1].expand(2, *x.shape[1:]).clone()
        for x in args
    ]
    config = replace(EXACT, clip_images=2)

    def ins(values, settings):
        return hle_loss(*values, classes, ids, IS_THING, CELL, settings)['ins'].item()

    # Two equal images change nothing; with different embeddings the mean differs from both.
    assert ins(twice, config) == pytest.approx(ins(twice, EXACT), rel=1e-9)
    assert ins(args, config) > ins(args, EXACT) + 1e-3


@pytest.mark.parametrize('values', [{'clip_images': 0}, {'clip_images': 2, 'loss': 'ae'}])
def test_invalid_clips_are_refused(values):
    with pytest.raises(ValueError, match=r'loss.clip_images must be at least 1'):
        HLELossConfig(**values)
