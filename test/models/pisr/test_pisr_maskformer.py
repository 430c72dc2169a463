# SPDX-License-Identifier: Apache-2.0
"""PISR on MaskFormer: inputs and readers of the block, and its switches."""

import numpy as np
import pytest
import torch
from graphs import assert_same, random_image, run_eager, run_onnx
from tiny_model import LABELS

from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.pisr.config import PISRMaskFormerConfig
from panoptic_ros.models.registry import build
from panoptic_training.export import export_model

SIZE = (64, 96)
SMALL = {
    'backbone': 'mobilenetv2_035',
    'fpn_channels': 32,
    'mask_channels': 16,
    'num_queries': 12,
    'query_channels': 16,
    'decoder_layers': 3,
    'attention_heads': 2,
    'feedforward': 32,
    'stride': 4,
    'score_threshold': 0.2,
    'overlap_threshold': 0.1,
    'block_channels': 24,
}


def image(seed=0):
    return torch.from_numpy(random_image(SIZE, seed)).permute(2, 0, 1)[None]


def small(**config):
    torch.manual_seed(1)
    return build('pisr_maskformer', LABELS, **{**SMALL, **config}).eval()


@pytest.mark.parametrize('feed', [True, False])
def test_the_final_heads_see_the_blocks_features(feed):
    model = small(feed_queries=feed)
    with torch.no_grad():
        before = model.maps(image())
        model.block.fuse[1].bias += 1.0
        after = model.maps(image())
    assert before.initial.mask_logits.shape == before.final.mask_logits.shape == (1, 12, 16, 24)
    assert before.final.class_logits.shape == (1, 12, len(LABELS) + 1)
    assert torch.equal(before.initial.mask_logits, after.initial.mask_logits)
    assert not torch.equal(before.final.mask_logits, after.final.mask_logits)
    assert torch.equal(before.final.class_logits, after.final.class_logits) == (not feed)


def test_masks_are_products_of_mlp_and_features():
    model = small(enabled=False)
    query, pixels = torch.randn(1, 12, 16), torch.randn(1, 16, 3, 4)
    with torch.no_grad():
        out = model.predict(query, pixels)
        vector = model.predict.mask(query)
    for q, y, x in np.ndindex(12, 3, 4):
        expected = float(vector[0, q] @ pixels[0, :, y, x])
        assert out.mask_logits[0, q, y, x].item() == pytest.approx(expected, abs=1e-5)


def test_only_training_with_deep_supervision_gives_the_earlier_layers():
    model = small(dropout=0.0)
    with torch.no_grad():
        assert model.maps(image()).auxiliary == []
        features = torch.randn(2, 112, 2, 3)
        one, earlier = model.train().decoded(features)
        assert len(earlier) == 2 and all(state.shape == one.shape for state in earlier)
        layers = model.transformer.decoder.layers
        layers[2].mlp.fc2.weight.zero_()  # the last layer changes the last state only
        again, same = model.decoded(features)
    assert torch.equal(earlier[0], same[0]) and torch.equal(earlier[1], same[1])
    assert not torch.equal(one, again)
    assert not torch.equal(earlier[0], earlier[1])
    off = small(deep_supervision=False).train()
    assert off.maps(image().expand(2, -1, -1, -1)).auxiliary == []


@pytest.mark.parametrize('enabled', [True, False])
def test_the_embedding_is_the_final_instances_encoding(enabled):
    model, picture = small(enabled=enabled), random_image(SIZE, seed=5)
    out = run_eager(model, picture, {'score_threshold': 0.0, 'overlap_threshold': 0.0})
    with torch.no_grad():
        maps = model.maps(torch.from_numpy(picture).permute(2, 0, 1)[None])
    assert (maps.initial is not None) == enabled
    feature, weight = standardized(maps.features[0]), maps.final.mask_logits[0].sigmoid()
    for row in range(12):
        expected = (feature * weight[row]).sum(dim=(1, 2)) / weight[row].sum()
        np.testing.assert_allclose(out['embedding'][row], expected / expected.norm(), atol=1e-4)
    assert out['embedding'].shape[1] == model.embedding_dim


def test_graph_equals_module_where_there_are_segments(tmp_path):
    model, path = small(stride=2), tmp_path / 'model.onnx'
    with torch.no_grad():  # queries that differ, and that are rarely nothing
        for layer in model.transformer.decoder.layers:
            layer.encoder_attn.q_proj.weight *= 30
            layer.encoder_attn.k_proj.weight *= 30
        model.predict.classes.weight *= 30
        model.predict.classes.bias[-1] = -9
        model.predict.mask.layers[-1].layers[0].weight *= 10
    picture = random_image(SIZE, seed=5)
    export_model(model, path, SIZE, name='test')
    expected, ours = run_eager(model, picture, {}), run_onnx(path, picture, {})
    assert expected['valid'].sum() >= 2
    assert_same(ours, expected)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'stride': 3}, r'stride must be one of \(1, 2, 4\), got 3'),
        ({'fpn_channels': 48}, 'fpn_channels must be a multiple of 32, got 48'),
        ({'query_channels': 20}, 'query_channels must be a multiple of .*, got 20 for 8 heads'),
        ({'decoder_layers': 0}, 'decoder_layers must be at least 1, got 0'),
        ({'dropout': 1.0}, r'dropout must lie in 0 to below 1, got 1\.0'),
        ({'mask_threshold': 2.0}, r'mask_threshold must lie in 0 to 1, got 2\.0'),
        ({'reweight': 'separated'}, 'reweight: separated needs encodings of classes'),
        ({'f1': 'dot'}, r"pisr.f1 must be one of .*, got 'dot'"),
    ],
)
def test_config_refuses_what_makes_no_sense(values, match):
    with pytest.raises(ValueError, match=match):
        PISRMaskFormerConfig(**values)
