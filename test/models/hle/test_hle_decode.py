# SPDX-License-Identifier: Apache-2.0
"""HLE's decoding against the paper's section 3.5 written out cell by cell."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.models.hle import decode as hle_decode
from panoptic_ros.models.hle.config import HLEConfig
from panoptic_ros.models.hle.decode import PEAKS_PER_ROW, REPEATED

IS_THING = torch.tensor([False, False, True, True])
DIM = 6


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=0)


def phi(e_i, e_j, rho_i, rho_j, sigma, spatial):
    """Return phi(i, j) with the deviations of seed i."""
    distance = 1 - float(e_i @ e_j)
    square = float(((rho_i - rho_j) ** 2).sum())
    return math.exp(-distance / (2 * sigma**2) - square / (2 * spatial**2))


def reference(embedding, log_sigma, seed_logits, class_logits, spatial, config, limits):
    """Return the segments as (class, set of cells, score), computed in a slow and obvious way."""
    _, height, width = class_logits.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    psi = torch.softmax(class_logits, dim=0)
    best_class = psi.argmax(dim=0)
    prob = torch.sigmoid(seed_logits)

    def rho(cell):
        return np.array([cell[1], cell[0]]) * config.stride / config.position_scale

    def thing(cell):
        return bool(IS_THING[best_class[cell]])

    def is_peak(cell):
        y, x = cell
        reach = config.seed_window // 2
        around = [
            (j, i)
            for j in range(y - reach, y + reach + 1)
            for i in range(x - reach, x + reach + 1)
            if 0 <= j < height and 0 <= i < width and thing((j, i))
        ]
        return all(seed_logits[cell] >= seed_logits[other] for other in around)

    seeds = sorted((c for c in cells if thing(c) and is_peak(c)), key=lambda c: -seed_logits[c])
    seeds = seeds[: PEAKS_PER_ROW * config.top_k]
    kernels = {s: (embedding[:, s[0], s[1]], rho(s), math.exp(log_sigma[s])) for s in seeds}

    def score_of(seed, cell):
        mean, place, sigma = kernels[seed]
        return phi(mean, embedding[:, cell[0], cell[1]], place, rho(cell), sigma, spatial)

    seeds = [
        seed
        for i, seed in enumerate(seeds)
        if not any(score_of(better, seed) > REPEATED for better in seeds[:i])
    ]
    seeds = [c for c in seeds[: config.top_k] if prob[c] > limits['score_threshold']]

    for _ in range(config.refine):
        masks = {s: [c for c in cells if score_of(s, c) > limits['mask_threshold']] for s in seeds}
        kernels = {
            s: (
                F.normalize(sum(embedding[:, y, x] for y, x in mask) / len(mask), dim=0),
                np.mean([rho(c) for c in mask], axis=0),
                np.mean([math.exp(log_sigma[c]) for c in mask]),
            )
            for s, mask in masks.items()
        }
    kept = []
    for seed in seeds:
        if all(score_of(k, seed) <= limits['merge_threshold'] for k in kept):
            kept.append(seed)
    groups = {}
    for cell in cells:
        scores = [score_of(k, cell) for k in kept]
        if scores and max(scores) > limits['mask_threshold']:
            groups.setdefault(('thing', kept[int(np.argmax(scores))]), set()).add(cell)
        elif not thing(cell) and psi[:, cell[0], cell[1]].max() > limits['stuff_threshold']:
            groups.setdefault(('stuff', int(best_class[cell])), set()).add(cell)
    out = []
    for (kind, key), members in groups.items():
        px = len(members) * config.stride**2
        if px < limits['min_area' if kind == 'thing' else 'min_stuff_area']:
            continue
        if kind == 'thing':
            votes = np.mean([psi[:, y, x].numpy() for y, x in members], axis=0)
            things = [k for k in range(len(IS_THING)) if IS_THING[k]]
            out.append((max(things, key=lambda k: votes[k]), frozenset(members), float(prob[key])))
        else:
            mean = np.mean([float(psi[:, y, x].max()) for y, x in members])
            out.append((key, frozenset(members), float(mean)))
    return out


LIMITS = {
    'score_threshold': 0.5,
    'merge_threshold': 0.5,
    'mask_threshold': 0.5,
    'stuff_threshold': 0.5,
    'min_area': 0.0,
    'min_stuff_area': 0.0,
}


def run(embedding, log_sigma, seed_logits, class_logits, spatial, config, limits):
    spatial_map = torch.full(log_sigma.shape, math.log(spatial))
    return hle_decode.decode(
        embedding,
        log_sigma,
        seed_logits,
        class_logits,
        spatial_map,
        IS_THING,
        torch.zeros(len(IS_THING), DIM),
        config,
        {name: torch.tensor(value) for name, value in limits.items()},
    )


def as_list(out):
    """Return the output in the reference's form, after checking the map against the table."""
    segments = []
    for row in torch.nonzero(out.valid)[:, 0].tolist():
        members = frozenset(map(tuple, torch.nonzero(out.segment_map == row + 1).tolist()))
        assert len(members) == out.area[row]
        ys, xs = zip(*members, strict=True)
        assert out.box[row].tolist() == [min(xs), min(ys), max(xs) + 1, max(ys) + 1]
        assert out.centroid[row].tolist() == pytest.approx(
            [np.mean(xs) + 0.5, np.mean(ys) + 0.5], abs=1e-3
        )
        assert {int(out.semantic_map[cell]) for cell in members} == {int(out.class_id[row])}
        segments.append((int(out.class_id[row]), members, float(out.score[row])))
    void = out.segment_map == 0
    assert (out.semantic_map[void] == VOID_ID).all()
    return segments


def assert_same(ours, expected):
    def key(segment):
        return segment[0], sorted(segment[1])

    ours, expected = sorted(ours, key=key), sorted(expected, key=key)
    assert [s[:2] for s in ours] == [s[:2] for s in expected]
    assert [s[2] for s in ours] == pytest.approx([s[2] for s in expected], abs=1e-5)


@pytest.mark.parametrize(
    'limits',
    [
        {},  # the paper's values
        {'merge_threshold': 0.05, 'mask_threshold': 0.2},  # seeds merge, masks are wide
        {'merge_threshold': 0.95},  # nearly every seed is an instance
        {'score_threshold': 0.99},  # no instance at all
        {'min_area': 80.0, 'min_stuff_area': 200.0},  # small segments become void
        {'stuff_threshold': 0.9},  # unsure stuff becomes void
        {'mask_threshold': 0.0},  # everything joins an instance
    ],
)
@pytest.mark.parametrize('refine', [0, 1, 2])
@pytest.mark.parametrize('seed', range(4))
def test_decode_equals_reference_on_random_maps(seed, refine, limits):
    generator = torch.Generator().manual_seed(seed)
    height, width = 12, 17
    maps = (
        unit(DIM, height, width, seed=seed),
        torch.randn(height, width, generator=generator) * 0.3 - 0.3,
        torch.randn(height, width, generator=generator) * 3,
        torch.randn(len(IS_THING), height, width, generator=generator) * 2,
    )
    config = HLEConfig(stride=4, top_k=12, refine=refine)
    limits = {**LIMITS, **limits}
    out = run(*maps, 0.02, config, limits)
    assert_same(as_list(out), reference(*maps, 0.02, config, limits))


def discs(centers, height=24, width=32, radius=4):
    """Return maps of discs of class 2 on class 0, each with an embedding and one clear seed."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    embedding = F.one_hot(torch.full((height, width), DIM - 1), DIM).permute(2, 0, 1).float()
    seed_logits = torch.full((height, width), -5.0)
    class_logits = torch.zeros(len(IS_THING), height, width)
    class_logits[0] = 5
    truth = torch.zeros(height, width, dtype=torch.long)
    for i, (cy, cx, axis) in enumerate(centers):
        distance = ((y - cy) ** 2 + (x - cx) ** 2).float().sqrt()
        inside = distance <= radius
        embedding[:, inside] = torch.eye(DIM)[axis][:, None]
        seed_logits[inside] = 4 - distance[inside] - 0.01 * i
        class_logits[:, inside] = torch.tensor([0.0, 0.0, 6.0, 0.0])[:, None]
        truth[inside] = i + 1
    return (
        embedding,
        torch.full((height, width), math.log(0.4)),
        seed_logits,
        class_logits,
    ), truth


@pytest.mark.parametrize(
    ('centers', 'count', 'why'),
    [
        ([], 0, 'no object'),
        ([(12, 10, 0)], 1, 'one object'),
        ([(12, 10, 0), (12, 16, 1)], 2, 'touching objects that differ by embedding only'),
        ([(6, 6, 0), (18, 26, 0)], 2, 'one embedding twice, in different places'),
        ([(0, 0, 0), (23, 31, 1)], 2, "cut by the image's border"),
    ],
)
def test_discs_become_instances(centers, count, why):
    maps, truth = discs(centers)
    out = run(*maps, 0.05, HLEConfig(stride=4, top_k=8), LIMITS)
    segments = [s for s in as_list(out) if IS_THING[s[0]]]
    assert len(segments) == count, why
    expected = {
        frozenset(map(tuple, torch.nonzero(truth == i + 1).tolist())) for i in range(count)
    }
    assert {s[1] for s in segments} == expected, why


def test_more_objects_than_k_keeps_the_best_seeds():
    centers = [(4 + 8 * (i // 4), 4 + 8 * (i % 4), i % 5) for i in range(12)]
    maps, truth = discs(centers, radius=2)
    out = run(*maps, 0.02, HLEConfig(stride=4, top_k=5), LIMITS)
    kept = {frozenset(map(tuple, torch.nonzero(truth == i + 1).tolist())) for i in range(5)}
    assert {s[1] for s in as_list(out) if IS_THING[s[0]]} == kept


def test_peaks_of_a_large_object_take_no_rows_of_small_ones():
    maps, truth = discs([(12, 8, 0), (4, 26, 1), (18, 26, 2)], radius=3)
    y, x = torch.meshgrid(torch.arange(24), torch.arange(32), indexing='ij')
    # The first disc has many peaks, all above those of the others.
    maps[2][(truth == 1) & (y % 2 == 0) & (x % 2 == 0)] = 9.0
    out = run(*maps, 0.2, HLEConfig(stride=4, top_k=3), LIMITS)
    found = {s[1] for s in as_list(out) if IS_THING[s[0]]}
    assert found == {frozenset(map(tuple, (truth == i).nonzero().tolist())) for i in (1, 2, 3)}


@pytest.mark.parametrize('which', [1, 4])
@pytest.mark.parametrize('value', [-45.0, 45.0])
def test_one_extreme_deviation_leaves_the_other_segments_as_they_are(which, value):
    maps, truth = discs([(6, 6, 0), (18, 26, 1)])
    maps = [*maps, torch.full(truth.shape, math.log(0.05))]
    maps[which][18, 26] = value  # the second disc's seed

    def decoded():
        out = hle_decode.decode(
            *maps,
            IS_THING,
            torch.zeros(len(IS_THING), DIM),
            HLEConfig(stride=4, top_k=8),
            {name: torch.tensor(value) for name, value in LIMITS.items()},
        )
        assert out.embedding.isfinite().all() and out.score.isfinite().all()
        return {(s[0], s[1]) for s in as_list(out)}

    first = frozenset(map(tuple, torch.nonzero(truth == 1).tolist()))
    assert (2, first) in decoded()


def test_an_extreme_class_deviation_leaves_class_probabilities_finite():
    means = torch.eye(DIM)[:3]
    log_sigma = torch.tensor([-45.0, -1.0, -1.0])
    logits = hle_decode.class_logits(means.T[:, :, None], means, log_sigma)
    assert logits.softmax(dim=0).isfinite().all()
