# SPDX-License-Identifier: Apache-2.0
"""PISR on Panoptic-DeepLab: what the block is told, its switches and its graph."""

import math

import numpy as np
import pytest
import torch
from center_models import SIZE, lively
from graphs import assert_same, random_image, run_eager, run_onnx
from tiny_model import LABELS

from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.pisr.config import PISRConfig
from panoptic_ros.models.pisr.panoptic_deeplab import confident_centers, instance_heatmaps
from panoptic_ros.runtime.select import open_backend
from panoptic_training.export import export_model

SMALL = {'block_channels': 16, 'num_encodings': 6}


def image(seed=0):
    return torch.from_numpy(random_image(SIZE, seed)).permute(2, 0, 1)[None]


def test_confident_centers_are_the_highest_peaks_of_each_image():
    heatmap = torch.zeros(2, 1, 6, 8)
    heatmap[0, 0, 1, 2], heatmap[0, 0, 1, 3], heatmap[0, 0, 4, 6] = 0.5, 0.4, 0.9
    heatmap[1, 0, 5, 0] = 0.3
    heatmap -= torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0)) * 0.01
    center, alive = confident_centers(heatmap, 2, 3)
    assert center[0].tolist() == [[18, 26], [6, 10]], "(y, x) of the cells' middles, px"
    assert center[1, 0].tolist() == [22, 2]
    assert alive.all()
    assert not confident_centers(torch.rand(1, 1, 3, 3), 9, 3)[1].all(), 'fewer peaks than K'


@pytest.mark.parametrize('tau', [2.0, 8.0])
def test_instance_heatmaps_equal_the_equation(tau):
    generator = torch.Generator().manual_seed(0)
    offset = torch.randn(2, 2, 4, 5, generator=generator) * 6
    center = torch.rand(2, 3, 2, generator=generator) * 16
    thing = torch.rand(2, 4, 5, generator=generator) < 0.6
    heat = instance_heatmaps(offset, center, thing, tau)
    for b, k, y, x in np.ndindex(2, 3, 4, 5):
        at = (4 * y + 2 + offset[b, 0, y, x].item(), 4 * x + 2 + offset[b, 1, y, x].item())
        square = sum((p - c) ** 2 for p, c in zip(at, center[b, k].tolist(), strict=True))
        expected = math.exp(-square / (2 * tau**2)) if thing[b, y, x] else 0
        assert heat[b, k, y, x].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_instance_heatmaps_keep_their_precision_for_half_precision_inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    offset = (torch.randn(1, 2, 256, 512, generator=generator) * 6).to(dtype)
    center = torch.rand(1, 3, 2, generator=generator) * torch.tensor([1024.0, 2048.0])
    center[0, 0] = torch.tensor([1022.0, 2046.0])  # the corner, farthest from the middle
    thing = torch.ones(1, 256, 512, dtype=torch.bool)
    with torch.autocast('cpu', dtype=dtype):
        heat = instance_heatmaps(offset, center, thing, 8.0)
    exact = instance_heatmaps(offset.double(), center.double(), thing, 8.0)
    assert exact.amax(dim=(2, 3)).min() > 0.3, 'each has cells'
    assert (heat - exact).abs().max() < 1e-3


def test_gradcheck_of_the_heatmaps():
    generator = torch.Generator().manual_seed(0)
    offset = torch.randn(1, 2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    center = torch.rand(1, 2, 2, generator=generator, dtype=torch.float64) * 12
    thing = torch.tensor([[[True] * 4] * 2 + [[False] * 4]])
    assert torch.autograd.gradcheck(lambda o: instance_heatmaps(o, center, thing, 8.0), offset)


def test_the_final_heads_see_the_blocks_features():
    model = lively('pisr', **SMALL)
    with torch.no_grad():
        maps = model.maps(image(), 2)
        coarse = model.maps(image())
    for part in (maps.final, maps.initial):
        assert part.semantic_logits.shape == (1, len(LABELS), SIZE[0] // 2, SIZE[1] // 2)
    assert maps.heatmaps.shape == (1, 6, SIZE[0] // 4, SIZE[1] // 4)
    assert torch.equal(maps.heatmaps, coarse.heatmaps), 'encodings are made at stride 4'
    assert not torch.equal(maps.final.semantic_logits, maps.initial.semantic_logits)
    with torch.no_grad():  # the block changes the final maps and only them
        model.block.fuse[0].weight.zero_()
        changed = model.maps(image())
    assert torch.equal(changed.initial.semantic_logits, coarse.initial.semantic_logits)
    assert not torch.equal(changed.final.semantic_logits, coarse.final.semantic_logits)


def test_without_the_block_it_is_panoptic_deeplab():
    plain, model = lively('panoptic_deeplab'), lively('pisr', enabled=False)
    model.load_state_dict(plain.state_dict())
    picture = random_image(SIZE, seed=5)
    expected, ours = run_eager(plain, picture, {}), run_eager(model, picture, {})
    for name in set(expected) - {'embedding'}:
        np.testing.assert_array_equal(ours[name], expected[name])
    assert ours['embedding'].shape[1] == model.embedding_dim == plain.embedding_dim


@pytest.mark.parametrize(
    'settings',
    [
        {
            'stride': 2,
            'reweight': 'separated',
            'f1': 'cosine',
            'f2': 'l2',
            'spatial_softmax': False,
        },
        {'stride': 4, 'enabled': False},
        {'stride': 4, 'spatial_softmax': False, 'spatial_h': True},
    ],
)
def test_graph_equals_module_and_is_loaded_again(tmp_path, settings):
    model = lively('pisr', **{**SMALL, **settings})
    path, picture = tmp_path / 'model.onnx', random_image(SIZE, seed=5)
    export_model(model, path, SIZE, name='test')
    expected, ours = run_eager(model, picture, {}), run_onnx(path, picture, {})
    assert (expected['valid'] & LABELS.is_thing[expected['class_id']]).sum() >= 3
    assert_same(ours, expected)
    limits = {name: t.default for name, t in model.thresholds.items()}
    backend = open_backend(path, backend='torch', device='cpu')
    assert_same(backend.run(picture, limits)._asdict(), ours)


def test_the_embedding_is_the_final_instances_encoding():
    model, picture = lively('pisr', stride=4, **SMALL), random_image(SIZE, seed=5)
    out = run_eager(model, picture, {})
    with torch.no_grad():
        maps = model.maps(torch.from_numpy(picture).permute(2, 0, 1)[None])
    feature = maps.final.feature[0]
    feature = standardized(feature)
    center, _ = confident_centers(maps.final.center_heatmap, 12, 3)
    heat = model.heatmaps(maps.final, center)[0]
    row = int(np.flatnonzero(out['valid'])[0])
    total = heat[row].sum()
    expected = (feature * heat[row]).sum(dim=(1, 2)) / total
    np.testing.assert_allclose(out['embedding'][row], expected.detach(), atol=1e-4)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'reweight': 'none'}, r"pisr.reweight must be one of .*, got 'none'"),
        ({'f2': 'dot'}, r"pisr.f2 must be one of .*, got 'dot'"),
        ({'tau': 0.0}, 'pisr.tau must be above 0, got 0.0'),
        ({'hidden_layers': -1}, 'pisr.hidden_layers must be at least 0, got -1'),
        ({'stride': 3}, r'pisr.stride must be one of \(1, 2, 4\), got 3'),
    ],
)
def test_config_refuses_what_makes_no_sense(values, match):
    with pytest.raises(ValueError, match=match):
        PISRConfig(**values)
