# SPDX-License-Identifier: Apache-2.0
"""Merging by score against a loop, and the switches of the network."""

import pytest
import torch
import torch.nn.functional as F
from small_models import SMALL_CIAE, SMALL_FPN
from tiny_model import LABELS

from panoptic_ros.models.panoptic_fpn.config import PanopticFPNConfig
from panoptic_ros.models.panoptic_fpn.decode import decode
from panoptic_ros.models.parts.mask_rcnn.masks import paste
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections
from panoptic_ros.models.registry import build

IS_THING = torch.tensor([False, False, True, True])
THINGS = torch.tensor([2, 3])
LIMITS = {'overlap_threshold': 0.5, 'min_area': 0.0, 'min_stuff_area': 0.0}


def detections(seed, rows=6, size=(48, 64)):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 2, generator=generator) * torch.tensor([size[1], size[0]]) * 0.6
    box = torch.cat([corner, corner + 8 + torch.rand(rows, 2, generator=generator) * 24], dim=1)
    return Detections(
        box,
        torch.randint(0, 2, (rows,), generator=generator),
        torch.rand(rows, generator=generator).sort(descending=True).values,
        F.normalize(torch.randn(rows, 5, generator=generator), dim=1),
        torch.arange(rows) < rows - 1,
    ), torch.randn(rows, 6, 6, generator=generator) + 1


def reference(found, masks, logits, stride, limits):
    """Return (class, set of cells) of each valid row, by row."""
    height, width = (n * 4 // stride for n in logits.shape[1:])
    coarse = paste(masks, found.box / 4, logits.shape[1:]) > 0
    fine = paste(masks, found.box / stride, (height, width)) > 0
    up = F.interpolate(logits[None], size=(height, width), mode='bilinear')[0]
    taken, taken_coarse = torch.zeros(height, width).bool(), torch.zeros_like(coarse[0])
    segments = {}
    for i in range(len(masks)):
        area = coarse[i].sum()
        if not found.alive[i] or not area:
            continue
        if (coarse[i] & taken_coarse).sum() > limits['overlap_threshold'] * area:
            continue
        taken_coarse |= coarse[i]
        segments[i] = (int(THINGS[found.thing[i]]), fine[i] & ~taken)
        taken |= fine[i]
    best = up.argmax(dim=0)
    for c in (0, 1):
        segments[len(masks) + c] = (c, (best == c) & ~taken)
    result = {}
    for row, (class_id, cells) in segments.items():
        least = limits['min_area' if row < len(masks) else 'min_stuff_area']
        if cells.any() and cells.sum() * stride**2 >= least:
            result[row] = (class_id, frozenset(map(tuple, torch.nonzero(cells).tolist())))
    return result


@pytest.mark.parametrize(
    ('stride', 'limits', 'why'),
    [
        (4, {}, 'at the stride of the maps'),
        (2, {}, 'finer than the maps'),
        (4, {'overlap_threshold': 0.0}, 'nothing may lie on anything'),
        (4, {'overlap_threshold': 1.0}, 'anything may'),
        (4, {'min_area': 200.0, 'min_stuff_area': 1000.0}, 'small segments go'),
    ],
)
@pytest.mark.parametrize('seed', range(3))
def test_decode_equals_the_loop(seed, stride, limits, why):
    found, masks = detections(seed)
    logits = torch.randn(4, 12, 16, generator=torch.Generator().manual_seed(seed))
    limits = {**LIMITS, **limits}
    out = decode(
        found,
        masks,
        logits,
        THINGS,
        IS_THING,
        stride,
        {name: torch.tensor(value) for name, value in limits.items()},
    )
    expected = reference(found, masks, logits, stride, limits)
    got = {
        row: (
            int(out.class_id[row]),
            frozenset(map(tuple, torch.nonzero(out.segment_map == row + 1).tolist())),
        )
        for row in torch.nonzero(out.valid)[:, 0].tolist()
    }
    assert got == expected, why
    assert torch.equal(out.score[:6], found.score)
    assert torch.equal(out.embedding[:6], found.embedding) and not out.embedding[6:].any()


def test_label_prior_puts_a_class_first_whatever_its_score():
    torch.manual_seed(0)
    model = build('panoptic_fpn', LABELS, **SMALL_FPN, label_prior=('box',)).eval()
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    thresholds = {**model.default_thresholds(), 'score_threshold': torch.tensor(0.0)}
    with torch.no_grad():
        found, masks = model.detect(model.maps(image), **thresholds)
    names = [LABELS.names[c] for c in model.thing_class[found.thing[found.alive]].tolist()]
    assert {'box', 'ball'} == set(names), 'both classes are needed for this test'
    assert names == sorted(names, key=['box', 'ball'].index)
    for name in ('box', 'ball'):
        score = found.score[found.alive][[n == name for n in names]]
        assert torch.equal(score, score.sort(descending=True).values)
    assert masks.shape == (len(found.alive), 14, 14)


@pytest.mark.parametrize(
    ('family', 'small', 'backbone'),
    [('panoptic_fpn', SMALL_FPN, 'fpn.backbone'), ('ciae', SMALL_CIAE, 'network.backbone')],
)
def test_frozen_parts_do_not_learn(family, small, backbone):
    model = build(
        family, LABELS, **{**small, 'frozen_stem': True, 'frozen_batch_norm': True}
    ).train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert f'{backbone}.conv_stem.weight' in frozen
    assert any(name.startswith(f'{backbone}.blocks.1.') for name in frozen)
    rest = [name for name in frozen if name.startswith(f'{backbone}.blocks.2.')]
    assert rest and all('.bn' in name for name in rest)
    assert all(name.startswith(f'{backbone}.') for name in frozen)
    before = model.state_dict()[f'{backbone}.bn1.running_mean'].clone()
    model.maps(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert torch.equal(model.state_dict()[f'{backbone}.bn1.running_mean'], before)


def test_global_context_reaches_everything():
    torch.manual_seed(0)
    model = build('panoptic_fpn', LABELS, **SMALL_FPN, global_context=True).eval()
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        before = model.maps(image).levels
        model.fpn.pyramid.context.bias += 1.0
        after = model.maps(image).levels
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'stride': 8}, r'stride must be one of \(1, 2, 4\), got 8'),
        ({'mask_size': 7}, 'mask_size must be even and at least 4, got 7'),
        ({'proposals': 0}, 'proposals must be at least 1, got 0'),
        ({'anchor_ratios': ()}, r'anchor_ratios must be numbers above 0, got \(\)'),
        ({'anchor_scale': 0.0}, r'anchor_scale must be above 0, got 0\.0'),
    ],
)
def test_wrong_settings_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        PanopticFPNConfig(**values)


def test_a_prior_over_unknown_classes_is_refused():
    with pytest.raises(ValueError, match=r"label_prior: 'wall' is not a thing class; .*ball, box"):
        build('panoptic_fpn', LABELS, **SMALL_FPN, label_prior=('wall',))
