"""SOGNet's whole loss: its terms against the model's own parts, and no data breaks it."""

import pytest
import torch
from label_maps import street
from small_models import SMALL_SOGNET
from tiny_model import LABELS

from panoptic_ros.models.masks import inside, paste
from panoptic_ros.models.registry import build
from panoptic_ros.models.relation import instance_logits, resolve, significant_overlap
from panoptic_ros.models.roi_heads import pool_batch
from panoptic_training.families import build_loss
from panoptic_training.losses.objects import find_objects, mask_targets
from panoptic_training.losses.sognet import SOGNetLossConfig, semantic_roi_loss


def make(**config):
    torch.manual_seed(0)
    return build('sognet', LABELS, **{**SMALL_SOGNET, 'semantic_widths': (16, 8),
                                     'overlap_of': 'box', **config}).train()


def reference(model, data):
    """The panoptic and the relation term, written from equations 7 to 12."""
    with torch.no_grad():
        maps, config = model.maps(data.image), model.config
        labels = data.at_stride(4)
        panoptic = relation_terms = 0.0
        for b, objects in enumerate(find_objects(data.class_map, data.instance_map,
                                                 model.is_thing)):
            semantic, count = maps.semantic_logits[b], len(objects.id)
            levels = [level[b:b + 1] for level in maps.levels[:4]]
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


@pytest.mark.parametrize('config', [{}, {'panoptic_head': 1}, {'relation': False},
                                    {'relation_features': ('box',)}])
def test_panoptic_and_relation_terms_equal_the_equations(config):
    # Batch statistics would make the two images' maps depend on each other: frozen.
    model, data = make(frozen_batch_norm=True, **config), street()
    terms = build_loss('sognet', {'panoptic_weight': 1.0})(model, data, 4)
    panoptic, relation = reference(model, data)
    assert terms['panoptic'].item() == pytest.approx(panoptic, rel=1e-4)
    assert terms['relation'].item() == pytest.approx(relation, rel=1e-4, abs=1e-7)
    assert (relation > 0) == config.get('relation', True)


@pytest.mark.parametrize(('edit', 'why'), [
    (None, 'a street with things'),
    (lambda c, i: (c.fill_(0), i.zero_()), 'stuff only'),
    (lambda c, i: (c.fill_(2), i.zero_()), 'crowd only'),
    (lambda c, i: (c.fill_(255), i.fill_(1)), 'void only'),
    (lambda c, i: (c.fill_(2), i.fill_(1)), 'one instance over both images'),
    (lambda c, i: (c.fill_(0), i.zero_(), c[0, 63, 95].fill_(2), i[0, 63, 95].fill_(1)),
     'one pixel in the corner'),
])
@pytest.mark.parametrize('config', [{}, {'void': True, 'overlap_of': 'mask'}])
def test_every_parameter_gets_a_finite_gradient(config, edit, why):
    model = make(**config)
    loss = build_loss('sognet', {'embedding_weight': 1.0, 'semantic_roi_weight': 0.04,
                                 'weak': bool(config), 'roi_samples': 32})
    terms = loss(model, street(edit), 4)
    assert all(value.isfinite() for value in terms.values()), why
    terms['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), (why, name)


@pytest.mark.parametrize('weak', [False, True])
def test_relations_are_learned_from_boxes(weak):
    model = make(frozen_batch_norm=True)
    loss = build_loss('sognet', {'weak': weak, 'panoptic_weight': 0.0})
    model.requires_grad_(False).relation.requires_grad_(True)  # the rest would cost and not learn
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


def test_relations_are_learned_from_what_is_hidden():
    data = street()
    hidden_map = torch.zeros_like(data.instance_map)
    hidden_map[0, 20:40, 44:60] = 1  # the ball goes on under the box
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


def test_semantic_roi_loss_is_taken_inside_the_boxes():
    torch.manual_seed(0)
    logits, data = torch.zeros(2, 4, 16, 24), street()
    objects = find_objects(data.class_map, data.instance_map, torch.tensor([0, 0, 1, 1]) > 0)
    logits[:, 2, :, :11], logits[:, 3, :, 11:] = 5.0, 5.0  # about right inside the boxes
    inside_boxes = semantic_roi_loss(logits, data.class_map, objects, 14)
    assert inside_boxes < 0.5 * semantic_roi_loss(0 * logits, data.class_map, objects, 14)
    even = semantic_roi_loss(0 * logits, data.class_map, objects, 14)
    torch.testing.assert_close(even, torch.tensor(4.0).log())
    assert semantic_roi_loss(logits, data.class_map, [o._replace(box=o.box[:0]) for o in objects],
                             14) == 0


def test_half_precision_networks_have_float32_losses():
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = build_loss('sognet', {})(make(), street(), 4)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r'loss.void_share must lie in 0 to below 1, got 1\.0'):
        SOGNetLossConfig(void_share=1.0)
    with pytest.raises(ValueError, match=r'loss\.panoptic_weight must not be negative'):
        SOGNetLossConfig(panoptic_weight=-1.0)
