# SPDX-License-Identifier: Apache-2.0
"""Panoptic-DeepLab's decoding against its rules written out cell by cell."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import SMALL_CENTERS
from tiny_model import LABELS

from panoptic_ros.models.panoptic_deeplab import decode as center_decode
from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.parts import segments
from panoptic_ros.models.registry import build

IS_THING = torch.tensor([False, False, True, True])
LIMITS = {'center_threshold': 0.1, 'score_threshold': 0.0, 'min_area': 0.0, 'min_stuff_area': 0.0}


def reference(logits, heatmap, offset, config, limits):
    """Return (class, cells, score) of the segments, computed in a slow and obvious way."""
    reach = center_decode.window_of(config.nms_kernel) // 2
    coarse = [(y, x) for y in range(heatmap.shape[1]) for x in range(heatmap.shape[2])]
    peaks = [
        (float(heatmap[m, y, x]), y, x)
        for m in range(len(heatmap))
        for y, x in coarse
        if heatmap[m, y, x]
        == heatmap[m, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].max()
    ]
    centers = []
    for peak in sorted(peaks, reverse=True)[: config.top_k]:
        if all(max(abs(peak[1] - c[1]), abs(peak[2] - c[2])) > reach for c in centers):
            centers.append(peak)
    centers = [c for c in centers if c[0] > limits['center_threshold']]

    if config.stride != 4:
        logits, offset = (
            F.interpolate(x[None], scale_factor=4 / config.stride, mode='bilinear')[0]
            for x in (logits, offset)
        )
    num_classes, height, width = logits.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    prob = torch.softmax(logits.double(), dim=0).numpy()
    best = logits.argmax(dim=0).numpy()

    groups = {}
    for y, x in cells:
        if not IS_THING[best[y, x]]:
            groups.setdefault(('stuff', int(best[y, x])), set()).add((y, x))
        elif centers:
            at = np.array([y + 0.5, x + 0.5]) * config.stride + offset[:, y, x].double().numpy()
            distance = [
                np.linalg.norm(at - np.array([c[1] + 0.5, c[2] + 0.5]) * 4) for c in centers
            ]
            groups.setdefault(('thing', int(np.argmin(distance))), set()).add((y, x))
    segments = []
    for (kind, key), members in groups.items():
        votes = np.bincount([best[cell] for cell in members], minlength=num_classes)
        class_id = int(votes.argmax()) if kind == 'thing' else key
        semantic = np.mean([prob[class_id][cell] for cell in members])
        score = semantic
        if kind == 'thing':
            objectness = min(max(centers[key][0], 0.0), 1.0)
            score = {
                'objectness': objectness,
                'semantic': semantic,
                'product': objectness * semantic,
            }[config.instance_score]
        px = len(members) * config.stride**2
        if px >= limits['min_area' if kind == 'thing' else 'min_stuff_area'] and (
            kind == 'stuff' or score >= limits['score_threshold']
        ):
            segments.append((class_id, frozenset(members), float(score)))
    return segments


def run(logits, heatmap, offset, config, limits):
    rows = center_decode.decode(
        logits,
        heatmap,
        offset,
        IS_THING,
        config,
        {name: torch.tensor(value) for name, value in limits.items()},
    )
    return [
        (
            int(rows.class_id[row]),
            frozenset(map(tuple, torch.nonzero(rows.row_map == row + 1).tolist())),
            float(rows.score[row]),
        )
        for row in torch.nonzero(rows.valid)[:, 0].tolist()
    ]


def assert_same(ours, expected):
    def key(segment):
        return segment[0], sorted(segment[1])

    ours, expected = sorted(ours, key=key), sorted(expected, key=key)
    assert [s[:2] for s in ours] == [s[:2] for s in expected]
    assert [s[2] for s in ours] == pytest.approx([s[2] for s in expected], abs=1e-5)


@pytest.mark.parametrize(
    ('settings', 'limits', 'maps'),
    [
        ({}, {}, 1),
        ({'stride': 1, 'nms_kernel': 20}, {}, 1),
        ({'stride': 2}, {}, 1),
        ({'instance_score': 'objectness'}, {}, 1),
        ({'instance_score': 'semantic'}, {}, 1),
        ({'top_k': 3}, {}, 1),  # fewer rows than centres
        ({}, {'center_threshold': 1.0}, 1),  # few centres or none
        ({}, {'center_threshold': 9.0}, 1),  # things without a centre are void
        ({}, {'score_threshold': 0.4}, 1),
        ({}, {'min_area': 80.0, 'min_stuff_area': 300.0}, 1),  # small segments become void
        ({}, {}, 2),  # a map of centres for each class
    ],
)
@pytest.mark.parametrize('seed', range(3))
def test_decode_equals_reference_on_random_maps(seed, settings, limits, maps):
    generator = torch.Generator().manual_seed(seed)
    height, width = (12, 17) if settings.get('stride', 4) == 4 else (6, 7)
    logits = torch.randn(4, height, width, generator=generator) * 2
    heatmap = torch.randn(maps, height, width, generator=generator) * 0.6
    offset = torch.randn(2, height, width, generator=generator) * 12
    config = PanopticDeepLabConfig(**{'stride': 4, 'top_k': 12, **settings})
    limits = {**LIMITS, **limits}
    assert_same(
        run(logits, heatmap, offset, config, limits),
        reference(logits, heatmap, offset, config, limits),
    )


def scene(centers, height=24, width=32, radius=4):
    """Return maps of discs of class 2 on class 0, with true offsets and a peak at each centre."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    logits = torch.zeros(4, height, width)
    logits[0] = 5
    heatmap, offset = torch.zeros(1, height, width), torch.zeros(2, height, width)
    truth = torch.zeros(height, width, dtype=torch.long)
    for i, (cy, cx) in enumerate(centers):
        distance = ((y - cy) ** 2 + (x - cx) ** 2).float()
        inside = distance <= radius**2
        logits[2] = torch.where(inside, 6.0, logits[2])
        offset[:, inside] = 4.0 * torch.stack([cy - y, cx - x])[:, inside]
        heatmap[0] = torch.maximum(heatmap[0], torch.exp(-distance / 8))
        truth[inside] = i + 1
    return (logits, heatmap, offset), truth


@pytest.mark.parametrize(
    ('centers', 'why'),
    [
        ([], 'no object'),
        ([(12, 10)], 'one object'),
        ([(12, 10), (12, 16)], 'touching objects'),
        ([(0, 0), (23, 31)], "cut by the image's border"),
    ],
)
def test_discs_become_instances(centers, why):
    maps, truth = scene(centers)
    config = PanopticDeepLabConfig(stride=4, top_k=8)
    found = {s[1] for s in run(*maps, config, LIMITS) if IS_THING[s[0]]}
    assert found == {
        frozenset(map(tuple, torch.nonzero(truth == i + 1).tolist())) for i in range(len(centers))
    }, why


def test_the_class_is_that_of_most_pixels():
    (logits, heatmap, offset), truth = scene([(12, 10)])
    cells = torch.nonzero(truth == 1)
    for y, x in cells[: len(cells) * 2 // 3].tolist():
        logits[3, y, x] = 9
    [(class_id, members, _)] = [
        s
        for s in run(logits, heatmap, offset, PanopticDeepLabConfig(stride=4), LIMITS)
        if IS_THING[s[0]]
    ]
    assert class_id == 3
    assert len(members) == len(cells)


@pytest.mark.parametrize(
    ('at', 'why'),
    [([(0, 5), (1, 5)], 'two cells'), ([(0, 0), (0, 1), (1, 0), (1, 1)], 'in the corner')],
)
def test_equal_heights_in_a_window_are_one_centre(at, why):
    heatmap = torch.zeros(1, 12, 12)
    for y, x in at:
        heatmap[0, y, x] = 0.7
    height, _, alive = center_decode.find_centers(heatmap, 3, 10)
    assert (alive & (height > 0.1)).sum() == 1, why


def test_nearby_peaks_of_two_classes_are_one_centre():
    heatmap = torch.zeros(2, 12, 12)
    heatmap[0, 5, 5], heatmap[1, 5, 6], heatmap[1, 10, 2] = 0.9, 0.4, 0.5
    height, cell, alive = center_decode.find_centers(heatmap, 3, 10)
    kept = [divmod(c, 12) for c in cell[alive & (height > 0.1)].tolist()]
    assert kept == [(5, 5), (10, 2)]


def test_each_class_may_have_its_own_centres():
    heatmap = torch.zeros(2, 12, 12)
    heatmap[0, 5, 5], heatmap[1, 5, 6], heatmap[1, 10, 2] = 0.9, 0.4, 0.5
    heatmap[1, 5, 7] = 0.4  # as high as its neighbour in the same map
    height, cell, alive = center_decode.find_centers(heatmap, 3, 10, across_maps=False)
    kept = sorted(divmod(c, 12) for c in cell[alive & (height > 0.1)].tolist())
    assert kept[0] == (5, 5) and kept[1] in [(5, 6), (5, 7)] and kept[2:] == [(10, 2)]


def test_einet_decodes_by_its_switch():
    for across in (True, False):
        model = build('einet', LABELS, **SMALL_CENTERS, nms_across_classes=across)
        assert model.nms_across_maps is across


@pytest.mark.parametrize(('kernel', 'window'), [(1, 3), (7, 3), (20, 5), (41, 11)])
def test_the_window_is_odd_and_of_the_size_in_px(kernel, window):
    assert center_decode.window_of(kernel) == window


def test_nearest_center_holds_at_full_size_and_in_chunks(monkeypatch):
    # At 2048 px, squared distances in px would be too coarse in float32 to rank centres.
    generator = torch.Generator().manual_seed(0)
    height, width, k = 16, 2048, 23
    offset = torch.randn(2, height, width, generator=generator) * 30
    center = torch.rand(k, 2, generator=generator) * torch.tensor([height, width])
    alive = torch.rand(k, generator=generator) < 0.8
    monkeypatch.setattr(segments, 'MOST_VALUES', 7 * height * width)
    row = center_decode.nearest_center(offset, center, alive, 1)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    points = torch.stack([y + 0.5 + offset[0], x + 0.5 + offset[1]]).double().flatten(1)
    at = center.double().T
    distance = (points[:, None] - at[:, :, None]).norm(dim=0)
    distance[~alive] = float('inf')
    chosen = distance.gather(0, row[None])[0]
    assert (chosen - distance.min(dim=0).values).max() < 0.02  # px: rounding decides ties
    assert (row == distance.argmin(dim=0)).float().mean() > 0.999
