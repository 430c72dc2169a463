# SPDX-License-Identifier: Apache-2.0
"""PISR on Panoptic FPN and UPerNet: inputs and readers of the block, and its switches."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from graphs import assert_same, assert_tensorrt_takes, random_image, run_eager, run_onnx
from small_models import SMALL_FPN
from tiny_model import LABELS

from panoptic_ros.models.parts.fpn import bin_means
from panoptic_ros.models.parts.mask_rcnn.roi_heads import Detections
from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.pisr.config import PISRPanopticFPNConfig, PISRUPerNetConfig
from panoptic_ros.models.pisr.panoptic_fpn import paste_probabilities
from panoptic_ros.models.registry import build
from panoptic_training.export import export_model

SIZE = (64, 96)
LIVELY = {'score_threshold': 0.2, 'min_stuff_area': 0.0}
BLOCK = {'block_channels': 24, 'num_encodings': 6}


def image(seed=0):
    return torch.from_numpy(random_image(SIZE, seed)).permute(2, 0, 1)[None]


def small(family='pisr_panoptic_fpn', **config):
    torch.manual_seed(1)
    return build(family, LABELS, **{**SMALL_FPN, **BLOCK, **LIVELY, **config}).eval()


def test_heatmaps_are_the_masks_of_the_initial_detections():
    model = small()
    with torch.no_grad():
        maps = model.maps(torch.cat([image(0), image(1)]))
        alone = model.maps(image(1))
    assert maps.alive.any() and not torch.equal(maps.heatmaps[0], maps.heatmaps[1])
    # The images of a batch do not affect each other.
    torch.testing.assert_close(maps.heatmaps[1], alone.heatmaps[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        maps.final.semantic_logits[1:], alone.final.semantic_logits, atol=1e-4, rtol=0
    )


def test_pasted_masks_are_probabilities_in_their_boxes():
    box = torch.tensor([[8.0, 4.0, 24.0, 20.0], [0.0, 0.0, 32.0, 32.0]])
    found = Detections(
        box,
        torch.tensor([0, 1]),
        torch.tensor([0.9, 0.0]),
        torch.zeros(2, 3),
        torch.tensor([True, False]),
    )
    masks = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    heat = paste_probabilities(found, masks, torch.zeros(1, 4, 8, 10))
    # The box is 4 x 4 cells, one for each bin of the mask.
    expected = torch.zeros(8, 10)
    expected[1:5, 2:6] = masks[0].sigmoid()
    torch.testing.assert_close(heat[0], expected)
    assert not heat[1].any(), 'a row without a detection is empty'


@pytest.mark.parametrize('family', ['pisr_panoptic_fpn', 'pisr_upernet'])
@pytest.mark.parametrize('levels', ['sum', 'alone'])
def test_the_final_heads_see_the_blocks_features(family, levels):
    model = small(family, panoptic_levels=levels)
    with torch.no_grad():
        before = model.maps(image())
        model.block.fuse[0].weight.zero_()
        model.block.fuse[1].bias += 1.0
        after = model.maps(image())
    assert torch.equal(before.initial.semantic_logits, after.initial.semantic_logits)
    assert not torch.equal(before.final.semantic_logits, after.final.semantic_logits)
    for i in range(5):
        same = torch.equal(before.final.levels[i], after.final.levels[i])
        assert same == (i == 4), 'P6 is for proposals, which come before the block'
        assert before.final.levels[i].shape == before.initial.levels[i].shape
    carried = model.carry(torch.ones(1, 24, *before.final.levels[0].shape[2:]))
    spread = model.spread(before.initial.levels, torch.ones(1, 24, 16, 24))
    base = before.initial.levels[2] if levels == 'sum' else 0
    torch.testing.assert_close(spread[2], base + F.avg_pool2d(carried, 4))


def test_without_the_block_it_is_panoptic_fpn():
    torch.manual_seed(1)
    plain = build('panoptic_fpn', LABELS, **SMALL_FPN, **LIVELY).eval()
    model = small(enabled=False)
    model.load_state_dict(plain.state_dict())
    picture = random_image(SIZE, seed=5)
    expected, ours = run_eager(plain, picture, {}), run_eager(model, picture, {})
    for name in expected:
        np.testing.assert_array_equal(ours[name], expected[name])
    assert model.embedding_kind == plain.embedding_kind and model.heads == plain.heads
    assert model.embedding_dim == plain.embedding_dim == ours['embedding'].shape[1]


def test_the_embedding_is_the_final_instances_encoding():
    model, picture = small(), random_image(SIZE, seed=5)
    out = run_eager(model, picture, {})
    assert out['embedding'].shape[1] == model.embedding_dim == 24
    with torch.no_grad():
        maps = model.maps(torch.from_numpy(picture).permute(2, 0, 1)[None])
        found, masks = model.detect(maps.final, **model.default_thresholds())
        heat = paste_probabilities(found, masks, maps.final.semantic_logits)
    feature = standardized(maps.features[0])
    row = int(np.flatnonzero(out['valid'][:12])[0])
    expected = (feature * heat[row]).sum(dim=(1, 2)) / heat[row].sum()
    np.testing.assert_allclose(out['embedding'][row], expected, atol=1e-4)
    assert not out['embedding'][12:].any(), 'stuff has no encoding of an instance'


@pytest.mark.parametrize(('size', 'bins'), [((6, 12), 3), ((5, 7), 3), ((2, 3), 6), ((4, 4), 1)])
def test_bin_means_are_those_of_adaptive_pooling(size, bins):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bin_means(x, bins), F.adaptive_avg_pool2d(x, bins))


def test_a_swin_backbone_takes_any_size_and_exports(tmp_path, monkeypatch):
    monkeypatch.setattr(
        timm,
        'create_model',
        partial(
            timm.create_model,
            embed_dim=16,
            depths=(2, 1, 1, 1),
            num_heads=(1, 1, 2, 2),
            window_size=4,
        ),
    )  # its first stage has windows that are shifted
    model = small('pisr_upernet', backbone='swin_tiny_patch4_window7_224')
    picture, path = random_image(SIZE, seed=3), tmp_path / 'swin.onnx'
    export_model(model, path, SIZE, name='swin')
    assert_same(run_onnx(path, picture, {}), run_eager(model, picture, {}))
    assert_tensorrt_takes(path)


@pytest.mark.parametrize(
    ('kind', 'values', 'match'),
    [
        (PISRPanopticFPNConfig, {'num_encodings': 0}, 'num_encodings must be at least 1, got 0'),
        (
            PISRPanopticFPNConfig,
            {'encoding_score': 1.5},
            'encoding_score must lie in 0 to 1, got 1.5',
        ),
        (PISRPanopticFPNConfig, {'panoptic_levels': 'none'}, "must be one of .*, got 'none'"),
        (PISRPanopticFPNConfig, {'f1': 'dot'}, r"pisr.f1 must be one of .*, got 'dot'"),
        (PISRPanopticFPNConfig, {'stride': 3}, r'stride must be one of \(1, 2, 4\), got 3'),
        (PISRUPerNetConfig, {'pool_scales': ()}, r'pool_scales must be numbers .*, got \(\)'),
    ],
)
def test_config_refuses_what_makes_no_sense(kind, values, match):
    with pytest.raises(ValueError, match=match):
        kind(**values)
