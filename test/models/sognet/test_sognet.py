# SPDX-License-Identifier: Apache-2.0
"""SOGNet's decoding against a loop over instances and cells."""

import pytest
import torch
import torch.nn.functional as F
from small_models import SMALL_SOGNET
from tiny_model import LABELS

from panoptic_ros.models.parts.mask_rcnn.masks import inside, paste
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections
from panoptic_ros.models.registry import build
from panoptic_ros.models.sognet.config import SOGNetConfig
from panoptic_ros.models.sognet.decode import decode, relabel
from panoptic_ros.models.sognet.relation import (
    RelationModule,
    instance_logits,
    resolve,
    resolve_pairwise,
    void_logits,
)

IS_THING = torch.tensor([False, False, True, True])
THINGS, STUFF = torch.tensor([2, 3]), torch.tensor([0, 1])
LIMITS = {'overlap_threshold': 0.3, 'min_area': 0.0, 'min_stuff_area': 0.0}


def inputs(seed, rows=6, size=(48, 64)):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 2, generator=generator) * torch.tensor([size[1], size[0]]) * 0.5
    box = torch.cat([corner, corner + 8 + torch.rand(rows, 2, generator=generator) * 24], dim=1)
    found = Detections(
        box,
        torch.randint(0, 2, (rows,), generator=generator),
        torch.rand(rows, generator=generator).sort(descending=True).values,
        F.normalize(torch.randn(rows, 5, generator=generator), dim=1),
        torch.arange(rows) < rows - 1,
    )
    return (
        found,
        torch.randn(rows, 6, 6, generator=generator) * 2 + 1,
        torch.randn(4, size[0] // 4, size[1] // 4, generator=generator) * 2,
    )


def relation_module():
    torch.manual_seed(0)
    module = RelationModule(('box', 'category', 'mask'), 2, 36, 8, 8, 8)
    for parameter in module.parameters():
        parameter.data *= 3  # relations far from 0
    return module


def reference(found, masks, logits, module, config, limits):
    """Return (class, cells) of each valid row, by row, and the relation matrix O."""
    stride, rows = config.stride, len(masks)
    height, width = (n * 4 // stride for n in logits.shape[1:])
    coarse = paste(masks, found.box / 4, logits.shape[1:]) > 0
    kept = []
    for i in range(rows):
        others = torch.zeros_like(coarse[0])
        for j in kept:
            if found.thing[j] == found.thing[i]:
                others |= coarse[j]
        area = coarse[i].sum()
        if (
            found.alive[i]
            and area
            and (coarse[i] & others).sum() <= limits['overlap_threshold'] * area
        ):
            kept.append(i)
    lost = torch.zeros(rows, height, width, dtype=torch.bool)  # to better ones of the class
    if config.trim:
        fine = paste(masks, found.box / stride, (height, width)) > 0
        whole = coarse.clone()
        for i in range(rows):
            for j in kept:
                if j < i and found.thing[j] == found.thing[i]:
                    coarse[i] &= ~whole[j]
                    lost[i] |= fine[j]
    relation = torch.zeros(rows, rows)
    if module is not None:
        shapes = coarse if config.overlap_of == 'mask' else inside(found.box / 4, logits.shape[1:])
        enters = [
            i
            for i in kept
            if any(
                j != i
                and (shapes[i] & shapes[j]).sum()
                >= config.least_overlap * min(shapes[i].sum(), shapes[j].sum())
                > 0
                for j in kept
            )
        ]
        relation_of_all = module(found.box, found.thing, masks.sigmoid())
        for i in enters:
            for j in enters:
                relation[i, j] = relation_of_all[i, j]
    up = F.interpolate(logits[None], size=(height, width), mode='bilinear')[0]
    raw = paste(masks, found.box / stride, (height, width)).masked_fill(lost, -1e4)
    way = resolve if config.relation_infer == 'matrix' else resolve_pairwise
    resolved = raw if module is None else way(raw, relation)
    within = inside(found.box / stride, (height, width))
    x = torch.zeros(rows, height, width)
    for i in kept:
        x[i] = up[THINGS[found.thing[i]]] * within[i]
    z = instance_logits(x, resolved, config.panoptic_head, config.semantic_factor)
    best_class, void = up.argmax(dim=0), void_logits(up, THINGS, x)[0]
    row_map = torch.zeros(height, width, dtype=torch.int64)
    for y in range(height):
        for column in range(width):
            scores = {
                i + 1: z[i, y, column]
                for i in kept
                if within[i, y, column] and not lost[i, y, column]
            }
            scores |= {rows + 1 + c: up[c, y, column] for c in (0, 1)}
            if config.void:
                scores[0] = void[y, column]
            row_map[y, column] = max(scores, key=lambda k: scores[k])
    for i in kept if config.relabel else []:
        cells = row_map == i + 1
        if cells.any():
            count = torch.bincount(best_class[cells], minlength=4)
            most = int(count.argmax())
            if not IS_THING[most] and 2 * count[most] >= cells.sum():
                row_map[cells] = rows + 1 + most
    result = {}
    for row in range(rows + 4):
        cells = row_map == row + 1
        least = limits['min_area' if row < rows else 'min_stuff_area']
        if cells.any() and cells.sum() * stride**2 >= least:
            result[row] = (
                int(THINGS[found.thing[row]]) if row < rows else row - rows,
                frozenset(map(tuple, torch.nonzero(cells).tolist())),
            )
    return result, relation


@pytest.mark.parametrize(
    ('config', 'limits', 'why'),
    [
        ({}, {}, "the paper's"),
        ({'stride': 2}, {}, 'finer than the maps'),
        ({'trim': False}, {}, 'masks of one class stay whole'),
        ({'trim': False, 'overlap_of': 'box'}, {'overlap_threshold': 1.0}, 'nothing is removed'),
        ({}, {'overlap_threshold': 0.9}, 'trimmed in place of removed'),
        ({'panoptic_head': 1}, {}, "UPSNet's head"),
        ({'relation': False}, {}, 'nothing is resolved'),
        ({'relation_infer': 'pairwise'}, {}, 'one pair after the other'),
        ({'overlap_of': 'box', 'least_overlap': 0.3}, {}, 'relations by boxes'),
        ({'void': True}, {}, "UPSNet's void channel"),
        ({'relabel': False}, {'overlap_threshold': 1.0}, 'no clean-ups'),
        ({}, {'min_area': 300.0, 'min_stuff_area': 900.0}, 'small segments go'),
    ],
)
@pytest.mark.parametrize('seed', range(3))
def test_decode_equals_the_loop(seed, config, limits, why):
    config = SOGNetConfig(**{'stride': 4, **config})
    module = relation_module() if config.relation else None
    limits = {**LIMITS, **limits}
    found, masks, logits = inputs(seed)
    with torch.no_grad():
        out, relation = decode(
            found,
            masks,
            logits,
            module,
            THINGS,
            STUFF,
            IS_THING,
            config,
            {name: torch.tensor(value) for name, value in limits.items()},
        )
        expected, expected_relation = reference(found, masks, logits, module, config, limits)
    got = {
        row: (
            int(out.class_id[row]),
            frozenset(map(tuple, torch.nonzero(out.segment_map == row + 1).tolist())),
        )
        for row in torch.nonzero(out.valid)[:, 0].tolist()
    }
    assert got == expected, why
    torch.testing.assert_close(relation, expected_relation)


@pytest.mark.parametrize(('trim', 'better', 'worse'), [(True, 8, 4), (False, 4, 8)])
def test_the_better_of_a_class_keeps_the_shared_columns(trim, better, worse):
    """Two instances share 4 of 12 columns; the worse one has the higher logits there."""
    box = torch.tensor([[0.0, 0, 32, 32], [16, 0, 48, 32]])
    found = Detections(
        box,
        torch.tensor([1, 1]),
        torch.tensor([0.9, 0.8]),
        torch.zeros(2, 5),
        torch.tensor([True, True]),
    )
    out, _ = decode(
        found,
        torch.stack([torch.full((6, 6), 3.0), torch.full((6, 6), 5.0)]),
        torch.tensor([-9.0, -9, 1, 1])[:, None, None].expand(4, 8, 16),
        None,
        THINGS,
        STUFF,
        IS_THING,
        SOGNetConfig(stride=4, trim=trim, relation=False, relabel=False),
        {
            name: torch.tensor(value)
            for name, value in {**LIMITS, 'overlap_threshold': 0.6}.items()
        },
    )
    assert out.area[:2].tolist() == [better * 8, worse * 8]


def test_the_relation_decides_which_instance_is_visible():
    """Of two full masks in one box, the covered one loses all its cells."""
    box = torch.tensor([[8.0, 8, 40, 40], [8, 8, 40, 40]])
    found = Detections(
        box,
        torch.tensor([0, 1]),
        torch.tensor([0.9, 0.8]),
        torch.zeros(2, 5),
        torch.tensor([True, True]),
    )
    logits = torch.zeros(4, 12, 16)
    logits[0] = 1.0

    class Fixed(torch.nn.Module):
        def forward(self, box, thing, mask):
            return self.value

    for covered, shown in ((0, 1), (1, 0)):
        module = Fixed()
        module.value = torch.zeros(2, 2)
        module.value[covered, shown] = 1.0
        out, _ = decode(
            found,
            torch.full((2, 6, 6), 5.0),
            logits,
            module,
            THINGS,
            STUFF,
            IS_THING,
            SOGNetConfig(stride=4, relabel=False),
            {name: torch.tensor(value) for name, value in LIMITS.items()},
        )
        assert out.valid.tolist() == [covered == 1, covered == 0, True, False, False, False]


@pytest.mark.parametrize(
    ('share', 'given', 'why'),
    [
        (0.4, False, 'less than half lies on the class'),
        (0.5, True, 'half lies on it'),
        (1.0, True, 'all lies on it'),
    ],
)
def test_instances_on_one_stuff_class_become_part_of_it(share, given, why):
    row_map = torch.ones(1, 10, dtype=torch.int32)
    cell_class = torch.where(torch.arange(10) < round(share * 10), 1, 2 if share == 0.5 else 3)[
        None
    ]
    out = relabel(row_map, 2, cell_class, IS_THING)
    assert out.unique().tolist() == [2 + 1 + 1 if given else 1], why
    assert torch.equal(relabel(row_map * 0, 2, cell_class, IS_THING), row_map * 0)


@pytest.mark.parametrize(
    ('config', 'has'), [({}, True), ({'relation': False}, False), ({'fusion': 'heuristic'}, False)]
)
def test_switches_make_and_leave_out_the_module(config, has):
    model = build('sognet', LABELS, **SMALL_SOGNET, **config).eval()
    assert any(name.startswith('relation.') for name in model.state_dict()) == has
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        segments, relation = model.decode_with_relation(
            model.maps(image),
            **{**model.default_thresholds(), 'score_threshold': torch.tensor(0.0)},
        )
    assert relation.shape == (12, 12) and len(segments.valid) == 16
    assert has or not relation.any()


@pytest.mark.parametrize('config', [{}, {'panoptic_head': 1}, {'void': True}])
def test_instances_keep_to_their_boxes(config):
    """Uncertain stuff has logits below 0, which is the logit of a mask outside its box."""
    found, masks, _ = inputs(0)
    logits = torch.full((4, 12, 16), -3.0)
    out, _ = decode(
        found,
        masks,
        logits,
        relation_module(),
        THINGS,
        STUFF,
        IS_THING,
        SOGNetConfig(stride=4, relabel=False, **config),
        {name: torch.tensor(value) for name, value in LIMITS.items()},
    )
    within = inside(found.box / 4, (12, 16))
    for row in range(len(masks)):
        assert not (out.segment_map == row + 1)[~within[row]].any()
    assert out.valid[: len(masks)].any()


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'fusion': 'vote'}, r"fusion must be one of \('panoptic', 'heuristic'\), got 'vote'"),
        ({'panoptic_head': 3}, r'panoptic_head must be one of \(1, 2\), got 3'),
        ({'relation_features': ('colour',)}, r"relation_features must be some of .*\('colour',\)"),
        ({'relation_features': ()}, r'relation_features must be some of .*, got \(\)'),
        ({'semantic_widths': ()}, r'semantic_widths must be numbers of at least 1, got \(\)'),
        ({'least_overlap': 0.0}, r'least_overlap must lie above 0 and up to 1, got 0\.0'),
        ({'overlap_of': 'depth'}, r"overlap_of must be one of \('mask', 'box'\), got 'depth'"),
    ],
)
def test_wrong_settings_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        SOGNetConfig(**values)
