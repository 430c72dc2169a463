# SPDX-License-Identifier: Apache-2.0
"""CIAE's decoding against the paper's section IV-C, written out cell by cell."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import batched_nms, nms

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.ciae.config import CIAEConfig
from panoptic_ros.models.ciae.decode import Proposals, Queries, propose, segment
from panoptic_ros.models.parts.fcos import STRIDES, FCOSMaps

IS_THING = torch.tensor([False, True, False, True])  # things and stuff mixed
THING_IDS, STUFF_IDS = torch.tensor([1, 3]), torch.tensor([0, 2])
DIM, SIZE = 6, (96, 160)
LIMITS = {
    'score_threshold': 0.3,
    'class_threshold': 0.2,
    'nms_threshold': 0.5,
    'min_area': 0.0,
    'min_stuff_area': 0.0,
}
CONFIG = CIAEConfig(stride=4, pre_nms_top_k=60, top_k=20)


def tensors(limits):
    return {name: torch.tensor(value) for name, value in limits.items()}


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=0)


def random_detections(seed):
    generator = torch.Generator().manual_seed(seed)
    levels = [(math.ceil(SIZE[0] / s), math.ceil(SIZE[1] / s)) for s in STRIDES]

    def normal(*shape):
        return torch.randn(1, *shape, generator=generator)

    return FCOSMaps(
        [normal(2, *hw) - 0.5 for hw in levels],
        [
            (normal(4, *hw) * 0.5 + math.log(2 * s)).exp()
            for hw, s in zip(levels, STRIDES, strict=True)
        ],
        [normal(1, *hw) + 1 for hw in levels],
        [],
    )


def reference_proposals(detections, embedding, config, limits):
    """Return (class, score, box, query) of each proposal, best first."""
    found = []
    for level, s in enumerate(STRIDES):
        logits, box, center = (x[level][0].double().numpy() for x in detections[:3])
        of_level = []
        for i, j in np.ndindex(logits.shape[1:]):
            channel = int(logits[:, i, j].argmax())
            prob, centerness = (
                1 / (1 + math.exp(-v)) for v in (logits[channel, i, j], center[0, i, j])
            )
            if prob <= limits['class_threshold']:
                continue
            x, y = s / 2 + j * s, s / 2 + i * s
            left, top, right, bottom = box[:, i, j]
            corners = [
                max(x - left, 0),
                max(y - top, 0),
                min(x + right, SIZE[1]),
                min(y + bottom, SIZE[0]),
            ]
            cell = (
                min(int(y) // config.stride, embedding.shape[1] - 1),
                min(int(x) // config.stride, embedding.shape[2] - 1),
            )
            of_level.append(
                (channel, math.sqrt(prob * centerness), corners, embedding[(slice(None), *cell)])
            )
        found += sorted(of_level, key=lambda p: -p[1])[: config.pre_nms_top_k]
    found = [p for p in found if p[1] >= limits['score_threshold']]
    if not found:
        return []
    boxes, scores = (torch.tensor([p[n] for p in found]).double() for n in (2, 1))
    channels = torch.tensor([p[0] for p in found])
    kept = (
        nms(boxes, scores, limits['nms_threshold'])
        if config.nms_across_classes
        else batched_nms(boxes, scores, channels, limits['nms_threshold'])
    )
    return [(int(THING_IDS[found[i][0]]), *found[i][1:]) for i in kept.tolist()][: config.top_k]


@pytest.mark.parametrize(
    ('change', 'limits', 'why'),
    [
        ({}, {}, 'the defaults of FCOS'),
        ({'nms_across_classes': True}, {}, 'suppression across classes'),
        ({'pre_nms_top_k': 10}, {'score_threshold': 0.0}, 'only the best of each level'),
        (
            {'top_k': 200},
            {'score_threshold': 0.0, 'class_threshold': 0.0},
            'nearly everything passes',
        ),
        ({'stride': 1}, {'nms_threshold': 0.9}, 'queries at full resolution'),
        ({}, {'score_threshold': 0.999}, 'nothing passes'),
    ],
)
@pytest.mark.parametrize('seed', range(3))
def test_proposals_equal_reference(seed, change, limits, why):
    config, limits = replace(CONFIG, **change), {**LIMITS, **limits}
    embedding = unit(DIM, SIZE[0] // config.stride, SIZE[1] // config.stride, seed=seed)
    detections = random_detections(seed)
    ours = propose(detections, embedding, THING_IDS, config, tensors(limits))
    expected = reference_proposals(detections, embedding, config, limits)
    assert ours.keep.sum() == len(expected), why
    assert ours.keep[: len(expected)].all(), 'the best first'
    for row, (class_id, score, box, query) in enumerate(expected):
        assert ours.class_id[row] == class_id
        assert ours.score[row].item() == pytest.approx(score, abs=1e-5)
        assert ours.box[row].tolist() == pytest.approx(box, rel=1e-4, abs=1e-3)
        assert torch.equal(ours.query[row], query)
    assert all(x.isfinite().all() for x in ours)


def random_proposals(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([120.0, 60.0])
    box = torch.cat([corner, corner + 10 + torch.rand(count, 2, generator=generator) * 60], dim=1)
    return Proposals(
        unit(DIM, count, seed=seed + 10).T,
        THING_IDS[torch.arange(count) % 2],
        torch.linspace(0.9, 0.5, count),
        box,
        torch.arange(count) % 4 != 3,
    )


def memory(rows=3):
    return F.normalize(torch.randn(rows, DIM, generator=torch.Generator().manual_seed(9)), dim=1)


def reference_segments(embedding, logits, proposals, config, limits):
    """Return (class, cells, score) of each segment."""
    groups = {}
    e, m = embedding.double().numpy(), memory().double().numpy()
    query, box = proposals.query.double().numpy(), proposals.box.tolist()
    for cell in np.ndindex(*e.shape[1:]):
        y, x = ((n + 0.5) * config.stride for n in cell)
        likeness = {}
        for k in range(len(query)):
            x1, y1, x2, y2 = box[k]
            inside = x1 <= x < x2 and y1 <= y < y2
            if proposals.keep[k] and (inside or not config.box_filter):
                likeness['thing', k] = query[k] @ e[(slice(None), *cell)]
            elif proposals.keep[k] and config.outside_box == 'zero':
                likeness['thing', k] = 0.0
        if logits is None:
            likeness |= {('stuff', k): m[k] @ e[(slice(None), *cell)] for k in range(2)}
        else:
            prob = torch.softmax(logits[(slice(None), *cell)].double(), dim=0)
            best = int(prob.argmax())
            if best < 2:
                likeness = {('stuff', best): float(prob[best])}
        if likeness:
            key = max(likeness, key=likeness.get)
            groups.setdefault(key, {})[cell] = max(likeness[key], 0)
    out = []
    for (kind, k), members in groups.items():
        px = len(members) * config.stride**2
        if px >= limits['min_area' if kind == 'thing' else 'min_stuff_area']:
            class_id = int(proposals.class_id[k] if kind == 'thing' else STUFF_IDS[k])
            score = float(proposals.score[k]) if kind == 'thing' else np.mean([*members.values()])
            out.append((class_id, frozenset(members), score))
    return out


def as_list(out):
    """Return the output in the reference's form, after checking the map against the table."""
    segments = []
    for row in torch.nonzero(out.valid)[:, 0].tolist():
        members = frozenset(map(tuple, torch.nonzero(out.segment_map == row + 1).tolist()))
        assert len(members) == out.area[row]
        assert {int(out.semantic_map[cell]) for cell in members} == {int(out.class_id[row])}
        segments.append((int(out.class_id[row]), members, float(out.score[row])))
    assert (out.semantic_map[out.segment_map == 0] == VOID_ID).all()
    assert set(out.segment_map.unique().tolist()) <= {
        0,
        *(torch.nonzero(out.valid)[:, 0] + 1).tolist(),
    }
    return segments


def assert_same(ours, expected):
    def key(segment):
        return segment[0], sorted(segment[1])

    ours, expected = sorted(ours, key=key), sorted(expected, key=key)
    assert [s[:2] for s in ours] == [s[:2] for s in expected]
    assert [s[2] for s in ours] == pytest.approx([s[2] for s in expected], abs=1e-5)


def run(embedding, logits, proposals, config, limits):
    queries = Queries(memory(), torch.tensor([0, 2, 1, 2]), STUFF_IDS, IS_THING)
    return segment(embedding, logits, proposals, queries, config, tensors(limits))


@pytest.mark.parametrize(
    ('change', 'branch', 'limits', 'why'),
    [
        ({}, False, {}, "the paper's default"),
        ({'box_filter': False}, False, {}, 'proposals reach everywhere'),
        ({'outside_box': 'excluded'}, False, {}, 'proposals end at their boxes'),
        ({}, True, {}, 'stuff from its own branch'),
        ({'outside_box': 'excluded'}, True, {}, 'things outside all boxes are void'),
        ({'box_filter': False}, True, {}, 'no thing is void'),
        ({}, False, {'min_area': 300.0, 'min_stuff_area': 4096.0}, 'small segments become void'),
    ],
)
@pytest.mark.parametrize('count', [1, 7, 70])  # more than a chunk
def test_segments_equal_reference(count, change, branch, limits, why):
    config, limits = replace(CONFIG, **change), {**LIMITS, **limits}
    embedding = unit(DIM, 24, 40, seed=count)
    generator = torch.Generator().manual_seed(count)
    logits = torch.randn(3, 24, 40, generator=generator) * 2 if branch else None
    proposals = random_proposals(count, seed=count)
    out = run(embedding, logits, proposals, config, limits)
    assert_same(as_list(out), reference_segments(embedding, logits, proposals, config, limits))
    assert all(x.isfinite().all() for x in (out.score, out.embedding, out.box, out.centroid))


def test_rows_carry_queries_and_memories():
    proposals = random_proposals(7, seed=1)
    out = run(unit(DIM, 24, 40), None, proposals, CONFIG, LIMITS)
    assert torch.equal(out.embedding[:7], proposals.query)
    assert torch.equal(out.embedding[7:], memory()[[0, 2, 1, 2]])
    assert not (out.valid[:7] & ~proposals.keep).any()


@pytest.mark.parametrize(('outside', 'cells'), [('zero', 24 * 40), ('excluded', 16)])
def test_a_cell_unlike_all_stuff_joins_an_instance_elsewhere_if_zero_is_more(outside, cells):
    embedding = unit(DIM, 24, 40) * 0
    embedding[:] = -memory()[:2].mean(dim=0)[:, None, None]  # similarity below 0 to both
    proposals = random_proposals(1, seed=1)._replace(
        box=torch.tensor([[0.0, 0, 16, 16]]), query=F.normalize(embedding[:, 0, :1].T)
    )
    out = run(embedding, None, proposals, replace(CONFIG, outside_box=outside), LIMITS)
    assert (out.segment_map[:4, :4] == 1).all()
    assert (out.semantic_map == 1).sum() == cells, 'the box holds 4 x 4 cells'
