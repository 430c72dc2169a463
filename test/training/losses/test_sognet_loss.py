# SPDX-License-Identifier: Apache-2.0
"""Loss of SOGNet: its terms against the paper's equations, and gradients for unusual labels."""

import itertools
import math

import pytest
import torch
from label_maps import street
from small_models import SMALL_SOGNET
from tiny_model import LABELS

from panoptic_ros.models.parts.mask_rcnn.masks import inside, paste
from panoptic_ros.models.parts.mask_rcnn.roi_heads import pool_batch
from panoptic_ros.models.registry import build
from panoptic_ros.models.sognet.relation import instance_logits, resolve, significant_overlap
from panoptic_training.losses.parts.objects import find_objects, mask_targets
from panoptic_training.losses.registry import build_loss
from panoptic_training.losses.sognet import SOGNetLossConfig, _panoptic_terms, semantic_roi_loss


def make(**config):
    torch.manual_seed(0)
    return build(
        'sognet',
        LABELS,
        **{**SMALL_SOGNET, 'semantic_widths': (16, 8), 'overlap_of': 'box', **config},
    ).train()


def reference(model, data):
    """Return the panoptic and the relation term, by equations 7 to 12."""
    with torch.no_grad():
        maps, config = model.maps(data.image), model.config
        labels = data.at_stride(4)
        panoptic = relation_terms = 0.0
        for b, objects in enumerate(
            find_objects(data.class_map, data.instance_map, model.is_thing)
        ):
            semantic, count = maps.semantic_logits[b], len(objects.id)
            levels = [level[b : b + 1] for level in maps.levels[:4]]
            masks = model.mask_head(pool_batch(levels, [objects.box], 7, config.canonical_size))
            masks = masks[torch.arange(count), objects.thing]
            logits = paste(masks, objects.box / 4, (16, 24))
            within = inside(objects.box / 4, (16, 24))
            pairs = significant_overlap(within.flatten(1).float(), 0.1)
            chosen = torch.nonzero(pairs.any(dim=1))[:, 0]
            if len(chosen) and model.relation is not None:
                target = mask_targets(data.instance_map[b], objects.id, objects.box, 14)
                o = model.relation(objects.box[chosen], objects.thing[chosen], target[chosen])
                logits[chosen] = resolve(logits[chosen], o)
                r = pairs[chosen][:, chosen].float()
                relation_terms += ((o + o.T - r) ** 2).mean().item() / 2
            x = semantic[model.thing_class[objects.thing]] * within
            z = instance_logits(x, logits, config.panoptic_head, 2.0)
            prob = torch.cat([semantic[:2], z]).log_softmax(dim=0)
            each = []
            for y in range(16):
                for x_ in range(24):
                    class_id = int(labels.class_map[b, y, x_])
                    instance = int(labels.instance_map[b, y, x_])
                    if class_id in (0, 1):
                        each.append(-prob[class_id, y, x_])
                    elif instance and class_id != 255:
                        each.append(-prob[2 + objects.id.tolist().index(instance), y, x_])
            panoptic += torch.stack(each).mean().item() / 2
    return panoptic, relation_terms


@pytest.mark.parametrize(
    'config', [{}, {'panoptic_head': 1}, {'relation': False}, {'relation_features': ('box',)}]
)
def test_panoptic_and_relation_terms_equal_the_equations(config):
    # Frozen, because batch statistics would make the maps of the two images depend on each other.
    model, data = make(frozen_batch_norm=True, **config), street()
    terms = build_loss('sognet', {'panoptic_weight': 1.0})(model, data, 4)
    panoptic, relation = reference(model, data)
    assert terms['panoptic'].item() == pytest.approx(panoptic, rel=1e-4)
    assert terms['relation'].item() == pytest.approx(relation, rel=1e-4, abs=1e-7)
    assert (relation > 0) == config.get('relation', True)


@pytest.mark.parametrize(
    ('edit', 'why'),
    [
        (None, 'a street with things'),
        (lambda c, i: (c.fill_(0), i.zero_()), 'stuff only'),
        (lambda c, i: (c.fill_(2), i.zero_()), 'crowd only'),
        (lambda c, i: (c.fill_(255), i.fill_(1)), 'void only'),
        (lambda c, i: (c.fill_(2), i.fill_(1)), 'one instance over both images'),
        (
            lambda c, i: (c.fill_(0), i.zero_(), c[0, 63, 95].fill_(2), i[0, 63, 95].fill_(1)),
            'one pixel in the corner',
        ),
    ],
)
@pytest.mark.parametrize('config', [{}, {'void': True, 'overlap_of': 'mask'}])
def test_every_parameter_gets_a_finite_gradient(config, edit, why):
    model = make(**config)
    loss = build_loss(
        'sognet',
        {
            'embedding_weight': 1.0,
            'semantic_roi_weight': 0.04,
            'weak': bool(config),
            'roi_samples': 32,
        },
    )
    terms = loss(model, street(edit), 4)
    assert all(value.isfinite() for value in terms.values()), why
    terms['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), (why, name)


@pytest.mark.parametrize('weak', [False, True])
def test_relations_are_learned_from_boxes(weak):
    model = make(frozen_batch_norm=True)
    loss = build_loss('sognet', {'weak': weak, 'panoptic_weight': 0.0})
    model.requires_grad_(False).relation.requires_grad_(True)  # saves time
    optimizer, data = torch.optim.Adam(model.relation.parameters(), lr=0.1), street()
    for _ in range(30):
        term = loss(model, data, 4)['relation']
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
    objects = find_objects(street().class_map, street().instance_map, model.is_thing)[0]
    masks = mask_targets(street().instance_map[0], objects.id, objects.box, 14)
    relation = model.relation(objects.box, objects.thing, masks)
    assert relation.sum() > 0.8, 'the two boxes overlap'
    if weak:
        assert relation[0, 1] > 0.8, 'and the box (row 1) shows where they do'


def test_relations_are_learned_from_hidden_parts():
    data = street()
    hidden_map = torch.zeros_like(data.instance_map)[:, None]
    hidden_map[0, 0, 20:40, 44:60] = 1  # the ball continues under the box
    data = data._replace(hidden_map=hidden_map)
    model = make(overlap_of='mask', frozen_batch_norm=True)
    loss = build_loss('sognet', {'panoptic_weight': 0.0})
    terms = loss(model, data, 4)
    with torch.no_grad():
        objects = find_objects(data.class_map, data.instance_map, model.is_thing, hidden_map)[0]
        masks = mask_targets(data.instance_map[0], objects.id, objects.box, 14, hidden_map[0])
        relation = model.relation(objects.box, objects.thing, masks)
    assert objects.box.tolist() == [[20, 10, 60, 40], [44, 20, 80, 64]]
    error = (relation + relation.T)[0, 1] - 1  # 0.27 of the ball's whole mask is hidden
    assert terms['relation'].item() == pytest.approx(2 * error.item() ** 2 / 4 / 2, rel=1e-4)
    weak = build_loss('sognet', {'weak': True})(model, data, 4)['relation']
    error = (relation - torch.tensor([[0.0, 1], [0, 0]])).square().mean() / 2
    assert weak.item() == pytest.approx(error.item(), rel=1e-4)


def test_masks_that_do_not_overlap_have_no_relations():
    terms = build_loss('sognet', {})(make(overlap_of='mask'), street(), 4)
    assert terms['relation'] == 0


def test_semantic_roi_loss_is_computed_inside_the_boxes():
    torch.manual_seed(0)
    logits, data = torch.zeros(2, 4, 16, 24), street()
    objects = find_objects(data.class_map, data.instance_map, torch.tensor([0, 0, 1, 1]) > 0)
    logits[:, 2, :, :11], logits[:, 3, :, 11:] = 5.0, 5.0  # mostly correct inside the boxes
    inside_boxes = semantic_roi_loss(logits, data.class_map, objects, 14)
    assert inside_boxes < 0.5 * semantic_roi_loss(0 * logits, data.class_map, objects, 14)
    even = semantic_roi_loss(0 * logits, data.class_map, objects, 14)
    torch.testing.assert_close(even, torch.tensor(4.0).log())
    assert (
        semantic_roi_loss(logits, data.class_map, [o._replace(box=o.box[:0]) for o in objects], 14)
        == 0
    )


def slow_semantic_roi_loss(logits, class_map, boxes, size):
    """Compute the loss from single bilinear samples, as many per bin as RoIAlign takes."""
    height, width = logits.shape[2:]

    def at(b, y, x):
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
        top = logits[b, :, y0, x0] * (1 - x + x0) + logits[b, :, y0, x1] * (x - x0)
        low = logits[b, :, y1, x0] * (1 - x + x0) + logits[b, :, y1, x1] * (x - x0)
        return top * (1 - y + y0) + low * (y - y0)

    each = []
    for b, image in enumerate(boxes):
        for x1, y1, x2, y2 in image.tolist():
            high, wide = (y2 - y1) / 4 / size, (x2 - x1) / 4 / size  # of a bin, in cells
            rows, columns = math.ceil(high), math.ceil(wide)  # number of samples of a bin
            for i in range(size):
                for j in range(size):
                    label = int(
                        class_map[
                            b,
                            int(y1 + (i + 0.5) / size * (y2 - y1)),
                            int(x1 + (j + 0.5) / size * (x2 - x1)),
                        ]
                    )
                    if label == 255:
                        continue
                    # The value k of a map lies at the centre of cell k, k + 0.5.
                    samples = [
                        at(
                            b,
                            y1 / 4 - 0.5 + (i + (p + 0.5) / rows) * high,
                            x1 / 4 - 0.5 + (j + (q + 0.5) / columns) * wide,
                        )
                        for p in range(rows)
                        for q in range(columns)
                    ]
                    mean = torch.stack(samples).mean(dim=0)
                    each.append(-mean.log_softmax(dim=0)[label])
    return torch.stack(each).mean()


def roi_case():
    """Make logits of two images, labels with void inside a box, and boxes up to the border."""
    data = street(lambda c, i: c[0, 20:30, 30:40].fill_(255))
    objects = find_objects(data.class_map, data.instance_map, torch.tensor([0, 0, 1, 1]) > 0)
    objects = [o._replace(box=o.box.double()) for o in objects]
    objects[1] = objects[0]._replace(
        box=torch.tensor([[0.0, 0, 96, 64], [90, 60, 96, 64]], dtype=torch.float64)
    )
    logits = torch.randn(
        2, 4, 16, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return logits, data.class_map, objects


@pytest.mark.parametrize('size', [2, 5, 14])
def test_semantic_roi_loss_equals_the_loop(size):
    logits, class_map, objects = roi_case()
    torch.testing.assert_close(
        semantic_roi_loss(logits, class_map, objects, size),
        slow_semantic_roi_loss(logits, class_map, [o.box for o in objects], size),
    )


def test_semantic_roi_loss_gradcheck():
    logits, class_map, objects = roi_case()
    objects = [o._replace(box=o.box[1:]) for o in objects]
    assert torch.autograd.gradcheck(
        lambda x: semantic_roi_loss(x, class_map, objects, 3),
        [logits[..., ::2, ::2].repeat(1, 1, 2, 2).requires_grad_()],
        fast_mode=True,
    )


@pytest.mark.parametrize('panoptic_head', [1, 2])
def test_the_panoptic_loss_teaches_relations(panoptic_head):
    """Without L_R, relations are learned from the target of the panoptic head."""
    model = make(panoptic_head=panoptic_head)
    loss = build_loss('sognet', {'relation_weight': 0.0, 'panoptic_weight': 1.0})
    terms = loss(model, street(), 4)
    assert terms['relation'] == 0
    terms['loss'].backward()
    assert model.relation.potential.weight.grad.abs().sum() > 0
    apart = street(lambda c, i: (c[:, :, 44:].fill_(0), i[:, :, 44:].zero_()))
    model.zero_grad()
    loss(model, apart, 4)['loss'].backward()
    assert not model.relation.potential.weight.grad.any(), 'nothing overlaps'


class EachByTheNext(torch.nn.Module):
    """Relation module that predicts that each instance is covered by those behind it."""

    def forward(self, box, thing, mask):
        return 0.8 * torch.ones(len(box), len(box)).triu(1)


@pytest.mark.parametrize(
    ('draws', 'why'),
    [
        ([0.5, 0.5], 'both are shown'),
        ([0.1, 0.5], 'the ball is left out'),
        ([0.5, 0.1], 'the box is left out'),
        ([0.1, 0.1], 'both are'),
    ],
)
def test_dropped_instances_cover_nothing(draws, why, monkeypatch):
    model, data = make(void=True, frozen_batch_norm=True), street()
    model.relation = EachByTheNext()
    monkeypatch.setattr(torch, 'rand', lambda n, **kwargs: torch.tensor(draws[:n]))
    maps = model.maps(data.image)
    objects = find_objects(data.class_map, data.instance_map, model.is_thing)
    panoptic, relation = _panoptic_terms(model, maps, data, objects, SOGNetLossConfig())
    labels, config = data.at_stride(4), model.config
    keep = torch.tensor(draws) >= 0.3
    expected, expected_relation = 0.0, 0.0
    with torch.no_grad():
        for b in range(2):
            shown = [n for n in range(len(objects[b].id)) if keep[n]]
            box, thing, ids = (x[shown] for x in objects[b])
            masks = model.mask_head(
                pool_batch(
                    [level[b : b + 1] for level in maps.levels[:4]],
                    [box],
                    7,
                    config.canonical_size,
                )
            )
            logits = paste(masks[torch.arange(len(ids)), thing], box / 4, (16, 24))
            if len(ids) == 2:  # else no instance is left that could cover it
                o = model.relation(box, thing, mask_targets(data.instance_map[b], ids, box, 14))
                logits = resolve(logits, o)
                expected_relation += ((o + o.T - 1 + torch.eye(2)) ** 2).mean() / 2
            semantic = maps.semantic_logits[b]
            x = semantic[model.thing_class[thing]] * inside(box / 4, (16, 24))
            z = instance_logits(x, logits, 2, 2.0)
            void = semantic[2:].amax(0) - (x.amax(0) if len(ids) else 0)
            prob = torch.cat([semantic[:2], z, void[None]]).log_softmax(dim=0)
            each = []
            for row, column in itertools.product(range(16), range(24)):
                class_id = int(labels.class_map[b, row, column])
                instance = int(labels.instance_map[b, row, column])
                if class_id in (0, 1):
                    each.append(-prob[class_id, row, column])
                elif instance and class_id != 255:
                    channel = ids.tolist().index(instance) if instance in ids else len(ids)
                    each.append(-prob[2 + channel, row, column])
            expected += torch.stack(each).mean() / 2
    assert panoptic.item() == pytest.approx(float(expected), rel=1e-4), why
    assert relation.item() == pytest.approx(float(expected_relation), rel=1e-4, abs=1e-7), why


def test_losses_of_half_precision_networks_are_float32():
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = build_loss('sognet', {})(make(), street(), 4)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r'loss.void_share must lie in 0 to below 1, got 1\.0'):
        SOGNetLossConfig(void_share=1.0)
    with pytest.raises(ValueError, match=r'loss\.panoptic_weight must not be negative'):
        SOGNetLossConfig(panoptic_weight=-1.0)
